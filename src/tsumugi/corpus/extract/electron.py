"""Electron's documentation: ``docs.json`` of the npm package electron-i18n, HTML by language and address."""

import json
from collections.abc import Iterator
from dataclasses import replace

from tsumugi.corpus.extract.html_sections import extract_sections
from tsumugi.corpus.extract.html_styles import BARE
from tsumugi.corpus.extract.page import Page


def extract_electron(data: bytes) -> Iterator[Page]:
    """The sections of the Japanese documents; their category is Electron's (api, tutorial, …).

    Raises:
        ValueError: it is not JSON of this form.
    """
    try:
        for document in json.loads(data)["ja-JP"].values():
            for page in extract_sections(document["html"].encode(), BARE):
                yield replace(page, title=page.title or document["title"], category=document["category"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not the documents of electron-i18n: {error!r}") from None
