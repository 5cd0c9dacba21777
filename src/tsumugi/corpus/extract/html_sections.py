"""Pages of HTML, whatever program wrote them: prose cut at the headings, without navigation, code and English."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lxml import html
from lxml.etree import ParserError
from lxml.html import HtmlElement

from tsumugi.corpus.extract.japanese import fill, is_untranslated
from tsumugi.corpus.extract.page import Page, lines_of

NO_PROSE = {"script", "style", "pre", "svg", "math", "img", "button", "input", "select", "form", "noscript", "nav"}
HEADINGS = {f"h{level}": level for level in range(1, 7)}
BLOCKS = {
    *("body", "main", "article", "section", "aside", "header", "footer", "div", "p", "blockquote", "center", "hr"),
    *("ul", "ol", "li", "dl", "dt", "dd", "table", "caption", "thead", "tbody", "tfoot", "tr", "td", "th"),
}
NESTED = "descendant::ul|descendant::ol|descendant::dl|descendant::pre|descendant::table"
# "第3章 ", "付録A ", "3.1.2. ", "1.4 ", "A.2 ": the number of a section, which its title does without
_NUMBER = re.compile(r"^(?:(?:第\s*\d+\s*[章部]|付録\s*[A-Z]\.?)\s*|(?:[A-Z]|\d+)(?:(?:\.\d+)*\.|(?:\.\d+)+)\s+)")
_LETTER = re.compile(r"[^\W\d_]")


@dataclass(frozen=True)
class HtmlStyle:
    """How the pages of one program look.

    Attributes:
        body: XPath of what holds the text.
        skipped: classes and ids of what is no prose: navigation, code, figures.
        asides: classes of what stands beside the text; a heading in there begins no section.
        headings: classes that make a paragraph a heading.
        cut: whether each heading begins a text of its own; else a page is one.
    """

    body: str
    skipped: frozenset[str]
    asides: frozenset[str] = frozenset()
    headings: frozenset[str] = frozenset()
    cut: bool = True


def extract_sections(data: bytes, style: HtmlStyle) -> list[Page]:
    """The sections of a page that have text of their own; those behind the first are titled ``page - section``.

    Raises:
        UnicodeDecodeError: the page is not UTF-8.
        ValueError: it is no HTML that a person wrote: thousands of elements in one another.
    """
    data.decode()  # lxml would read on with wrong characters
    parser = html.HTMLParser(encoding="utf-8")
    try:
        page = html.document_fromstring(data, parser=parser)
    except ParserError:  # nothing but blanks or comments
        return []
    if fatal := parser.error_log.filter_from_fatals():  # what lxml has left out without a word
        raise ValueError(fatal[0].message)
    reading = _Reading(style)
    for body in page.xpath(style.body):
        reading.add(body)
    title = without_number(fill(page.findtext(".//title") or ""))
    return list(_sections(reading.blocks, title, cut=style.cut))


def without_number(heading: str) -> str:
    """A heading without the number of its section."""
    return _NUMBER.sub("", heading)


def _sections(blocks: Iterable[tuple[bool, str]], page_title: str, *, cut: bool) -> Iterator[Page]:
    title, top, section = page_title, "", []
    for is_heading, text in blocks:
        if not is_heading or (not cut and top):
            section.append((is_heading, text))
            continue
        if lines := lines_of(section):
            yield Page(title, "\n".join(lines))
        title = f"{top} - {text}" if top else text
        top, section = top or text, []
    if lines := lines_of(section):
        yield Page(title, "\n".join(lines))


class _Reading:
    """A walk through the elements; ``blocks`` are the paragraphs and headings so far."""

    def __init__(self, style: HtmlStyle) -> None:
        self.blocks: list[tuple[bool, str]] = []
        self._style = style
        self._pieces: list[tuple[str, bool]] = []  # of the paragraph that is being read: text, and whether it is a link
        self._links = self._asides = 0  # how deep inside of these

    def add(self, element: HtmlElement) -> None:
        """Read an element, with all that is in it."""
        if not self._is_shown(element):
            return
        names = _names(element)
        if element.tag in HEADINGS or (element.tag == "p" and self._style.headings & names):
            self._end_paragraph()
            if not self._asides:
                self._heading(element)
        elif element.tag == "th" and self._asides:  # "Note", in a box that is drawn as a table
            return
        elif element.tag == "tr" and not self._asides and not element.xpath(NESTED):
            self._end_paragraph()
            cells = (fill(self._shown_text(cell)) for cell in element)
            self._paragraph("、".join(cell for cell in cells if cell))
        else:
            self._asides += (aside := bool(self._style.asides & names))
            self._links += (link := element.tag == "a" and element.get("href") is not None)
            self._read_inside(element)
            self._asides -= aside
            self._links -= link

    def _read_inside(self, element: HtmlElement) -> None:
        is_block = element.tag in BLOCKS
        if is_block:
            self._end_paragraph()
        self._piece(element.text)
        for child in element:
            self._piece(" " if child.tag == "br" else None)
            self.add(child)
            self._piece(child.tail)
        if is_block:
            self._end_paragraph()

    def _piece(self, text: str | None) -> None:
        if text:
            self._pieces.append((text, self._links > 0))

    def _end_paragraph(self) -> None:
        # of a line of links, what is between them has no letter
        if any(_LETTER.search(text) for text, is_link in self._pieces if not is_link):
            self._paragraph(fill("".join(text for text, _ in self._pieces)))
        self._pieces.clear()

    def _paragraph(self, text: str) -> None:
        if text and not is_untranslated(text):
            self.blocks.append((False, text))

    def _heading(self, element: HtmlElement) -> None:
        if text := without_number(fill(self._shown_text(element))):
            self.blocks.append((True, text))

    def _is_shown(self, element: HtmlElement) -> bool:
        is_element = isinstance(element.tag, str)  # a comment is none
        return is_element and element.tag not in NO_PROSE and not self._style.skipped & _names(element)

    def _shown_text(self, element: HtmlElement) -> str:
        pieces = [element.text or ""]
        for child in element:
            if self._is_shown(child):
                pieces.append(" " if child.tag == "br" else self._shown_text(child))
            pieces.append(child.tail or "")
        return "".join(pieces)


def _names(element: HtmlElement) -> set[str]:
    return {*(element.get("class") or "").split(), element.get("id") or ""}
