"""Mallard, GNOME's XML for help: the paragraphs and headings of a page, without information about it and code."""

from lxml import etree

from tsumugi.corpus.extract.japanese import fill, is_untranslated
from tsumugi.corpus.extract.page import Page, lines_of

NO_PROSE = {"info", "code", "screen", "media"}
PARAGRAPHS = {"p", "title"}


def extract_mallard(data: bytes) -> Page | None:
    """Title and body; the category is the first guide that leads to the page. None for a page without Japanese.

    Raises:
        lxml.etree.XMLSyntaxError: it is not well-formed.
    """
    page = etree.fromstring(data, parser=etree.XMLParser(resolve_entities=False, no_network=True))
    title = page.find("{*}title")
    blocks: list[tuple[bool, str]] = []
    for child in page:
        if child is not title:
            _collect(child, blocks)
    lines = lines_of(blocks)
    if title is None or not lines:
        return None
    guide = page.find("{*}info/{*}link[@type='guide']")
    category = page.get("id", "") if guide is None else guide.get("xref", "").partition("#")[0]
    return Page(fill("".join(title.itertext())), "\n".join(lines), category)


def _collect(element: etree._Element, blocks: list[tuple[bool, str]]) -> None:
    name = etree.QName(element).localname if isinstance(element.tag, str) else None  # a comment has none
    if name in PARAGRAPHS:
        text = fill("".join(element.itertext()))
        if name == "title" or not is_untranslated(text):
            blocks.append((name == "title", text))
    elif name is not None and name not in NO_PROSE:
        for child in element:
            _collect(child, blocks)
