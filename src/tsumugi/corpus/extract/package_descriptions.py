"""The descriptions of Debian's packages, as the translation project DDTP puts them into apt's index Translation-ja."""

import re

from tsumugi.corpus.extract.japanese import fill, is_untranslated
from tsumugi.corpus.extract.page import Page

_ITEM = re.compile(r"\s*[-*+o・] ")


def extract_description(description: str) -> Page | None:
    """Title and body of the field Description-ja (Debian Policy 5.6.13); None where there is no Japanese body.

    ``.`` stands for an empty line; a line that begins with two spaces is set apart, mostly as one of a list.
    """
    title, *lines = description.split("\n")
    paragraphs = [""]
    apart = False
    for line in lines:
        text, was_apart = line[1:], apart
        apart = text.startswith(" ")
        if text.strip() == "." or apart != was_apart or _ITEM.match(text):
            paragraphs.append("")
        if text.strip() != ".":
            paragraphs[-1] += text + "\n"
    filled = [fill(paragraph) for paragraph in paragraphs]
    kept = [paragraph for paragraph in filled if paragraph and not is_untranslated(paragraph)]
    return Page(fill(title), "\n".join(kept)) if kept else None
