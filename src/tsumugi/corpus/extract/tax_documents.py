"""Japanese tax law and what the authorities say about it, as the Python package juricode-mcp brings them."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tsumugi.corpus.extract.page import Page


def extract_tax_documents(documents: bytes, texts: bytes) -> Iterator[Page]:
    """A page for each text of a registry, with its own licence; the category is the layer (statute, ruling, …).

    Args:
        documents: JSON lines that describe the documents.
        texts: JSON lines with their texts.

    Raises:
        ValueError: these are not JSON lines of this form.
    """
    try:
        described = {document["juri_id"]: document for document in map(json.loads, documents.splitlines())}
        for entry in map(json.loads, texts.splitlines()):
            document = described[entry["juri_id"]]
            title, text = _title_and_text(document, entry["text"])
            yield Page(title, text, document["layer"], document["license"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a registry of juricode-mcp: {error!r}") from None


def _title_and_text(document: Mapping[str, Any], text: str) -> tuple[str, str]:
    if document["article_number"] is not None:
        return f"{document['law_name_ja']} 第{document['article_number']}条", text
    number = document["juri_id"].partition(f"{document['layer']}-")[2]  # by which it is quoted
    if document["layer"] == "tsutatsu":
        return f"{document['law_name_ja']} {number}", text
    first, _, rest = text.partition("\n")  # of a ruling its title, of an answer of the tax office its subject
    return f"{document['law_name_ja']} {number} {first}" if document["layer"] == "taxanswer" else first, rest
