"""Descriptions of an interface in OpenAPI's form, as the npm package freee-mcp brings them for freee's accounting."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tsumugi.corpus.extract.html_sections import extract_sections
from tsumugi.corpus.extract.html_styles import BARE_PAGE
from tsumugi.corpus.extract.page import Page

METHODS = ("get", "put", "post", "delete", "patch")


def extract_openapi(data: bytes) -> Iterator[Page]:
    """A page for each operation: its summary, its description, and those of its parameters.

    Raises:
        ValueError: it is not JSON of this form.
    """
    try:
        for operations in json.loads(data)["paths"].values():
            for method in METHODS:
                if method in operations and (page := _operation(operations[method])):
                    yield page
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not an OpenAPI description: {error!r}") from None


def _operation(operation: Mapping[str, Any]) -> Page | None:
    lines = _lines(operation.get("description", ""))
    for parameter in operation.get("parameters", []):
        described = _lines(parameter.get("description", ""))
        lines += [f"{parameter['name']}: {described[0]}", *described[1:]] if described else []
    return Page(operation["summary"].strip(), "\n".join(lines)) if lines else None


def _lines(description: str) -> list[str]:
    """The paragraphs of a description, which is HTML or plain text."""
    pages = extract_sections(description.encode(), BARE_PAGE)
    return [line for page in pages for line in page.text.split("\n")]
