"""LibreOffice help pages: the prose of ``div#DisplayArea``, without navigation, code and untranslated paragraphs."""

from lxml import html
from lxml.etree import ParserError
from lxml.html import HtmlElement

from tsumugi.corpus.extract.japanese import fill, is_untranslated
from tsumugi.corpus.extract.page import Page, lines_of

SKIPPED_TAGS = {"script", "style", "pre", "code", "svg", "button", "input", "meta", "noscript"}
# "relatedtopics": links to other pages. "howtoget": the menu path, repeated on hundreds of pages. "bug": debugging.
# "MAC", "WIN": what other systems show in the place of the words beside it.
SKIPPED_CLASSES = {
    *("relatedtopics", "related", "relatedbody", "howtoget", "howtogetheader", "howtogetbody", "bug"),
    *("code", "codeintable", "smathcode", "bascode", "pycode", "image", "MAC", "WIN"),
}
BLOCKS = {"p", "h1", "h2", "h3", "h4", "h5", "h6", "dt"}
HEADINGS = {"h1", "h2", "h3", "h4", "h5", "h6"}


def extract_help_page(data: bytes) -> Page | None:
    """The page's title and prose; None if it has no text of its own."""
    try:
        page = html.document_fromstring(data, parser=html.HTMLParser(encoding="utf-8"))
    except ParserError:  # nothing but blanks or comments
        return None
    area = page.find(".//div[@id='DisplayArea']")
    title = fill(page.findtext(".//title") or "")
    if area is None or not title:
        return None
    blocks: list[tuple[bool, str]] = []
    _collect(area, blocks)
    lines = lines_of(blocks)
    while lines and lines[0] == title:  # the page opens by repeating its title
        lines.pop(0)
    return Page(title, "\n".join(lines)) if lines else None


def _collect(element: HtmlElement, blocks: list[tuple[bool, str]]) -> None:
    for child in element:
        if not isinstance(child.tag, str) or child.tag in SKIPPED_TAGS:
            continue
        if SKIPPED_CLASSES.intersection((child.get("class") or "").split()):
            continue
        if child.tag in BLOCKS:
            text = fill(_shown_text(child))
            is_link = child.tag not in HEADINGS and any(fill(link.text_content()) == text for link in child.iter("a"))
            if text and not is_link and not is_untranslated(text):
                blocks.append((child.tag in HEADINGS, text))
        else:
            _collect(child, blocks)


def _shown_text(element: HtmlElement) -> str:
    pieces = [element.text or ""]
    for child in element:
        skipped = not isinstance(child.tag, str) or SKIPPED_CLASSES.intersection((child.get("class") or "").split())
        pieces += [" " if child.tag == "br" else "" if skipped else _shown_text(child), child.tail or ""]
    return "".join(pieces)
