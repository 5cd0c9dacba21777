"""Collects what the macro packages say into sections of paragraphs, and keeps the prose."""

import re
from dataclasses import dataclass, field

from tsumugi.corpus.extract.japanese import fill, is_untranslated
from tsumugi.corpus.normalization.characters import count_characters

NAME_SECTIONS = {"名前", "名称", "NAME", "名"}
# Not prose of the page itself: calls, links, people, and what the project says on each of its pages.
SKIPPED_SECTIONS = {
    *("書式", "SYNOPSIS", "形式", "関連項目", "SEE ALSO", "この文書について", "COLOPHON", "著者", "作者", "AUTHOR"),
    *(
        "AUTHORS",
        "著作権",
        "COPYRIGHT",
        "翻訳者",
        "翻訳",
        "翻訳者謝辞",
        "翻訳者・謝辞",
        "日本語訳",
        "和訳",
        "インデックス",
    ),
    *(
        "属性",
        "ATTRIBUTES",
        "参照",
        "日本語版",
        "バグの報告",
        "バグ報告",
        "原著者",
        "ライセンス",
        "LICENSE",
        "関連項目・文書",
        "関連文書",
    ),
}
BULLETS = {"・", "*", "-", "–", "—", "+", "o", "○", "●", "•", "·"}
NUMBERED = re.compile(r"^\(?(\d+|[a-z])[.)]$")


@dataclass
class Section:
    """A heading and the paragraphs under it."""

    heading: str
    lines: list[str] = field(default_factory=list)


class PageBuilder:
    """Fed in reading order; a paragraph ends when the macro package says so."""

    def __init__(self) -> None:
        self.sections = [Section("")]
        self.literal = 0
        self._pieces: list[str] = []
        self._terms: list[str] = []
        self._glue = False

    def text(self, text: str, glue_next: bool = False) -> None:
        """Add a line of the current paragraph; ``glue_next``: the next one follows without a space."""
        if self.literal or not text.strip():
            return
        if self._glue and self._pieces:
            self._pieces[-1] += text.strip()
        else:
            self._pieces.append(text.strip())
        self._glue = glue_next

    def term(self, text: str) -> None:
        """What the next paragraph explains: an option, an error. It is kept only if that paragraph is."""
        self.end_paragraph()
        if text.strip():
            self._terms.append(fill(text))

    def heading(self, text: str) -> None:
        """Begin a section."""
        self._flush_terms()
        self.literal = 0
        self.sections.append(Section(fill(text)))

    def end_paragraph(self) -> None:
        """The paragraph is complete."""
        paragraph = fill("\n".join(self._pieces))
        self._pieces, self._glue = [], False
        if not paragraph:
            return
        terms, self._terms = self._terms, []
        section = self.sections[-1]
        if section.heading in NAME_SECTIONS:
            section.lines.append(paragraph)
        elif not is_untranslated(paragraph):
            marks = [term for term in terms if _is_mark(term)]
            names = [term for term in terms if not _is_mark(term)]
            section.lines += [", ".join(names)] if names else []
            section.lines.append(" ".join([*marks, paragraph]))

    def table(self, rows: list[str]) -> None:
        """A table, a row a line; without rows in Japanese its header says nothing."""
        self.end_paragraph()
        kept = [row for row in map(fill, rows[1:]) if row and not is_untranslated(row)]
        if kept and rows:
            self.text(rows[0])
            self.end_paragraph()
            self.sections[-1].lines += kept

    def finish(self) -> tuple[str, str]:
        """``(name, body)``: the paragraph of the NAME section, and the other sections, a paragraph a line."""
        self._flush_terms()
        name, lines = "", []
        for section in self.sections:
            heading = section.heading.strip("「」 ")
            if heading in NAME_SECTIONS:
                first = (
                    section.lines[:1] if " - " in "".join(section.lines[:1]) else section.lines
                )  # one page, many names
                name = name or fill(" ".join(first))
            elif section.lines and heading.upper() not in SKIPPED_SECTIONS:
                lines += [heading] if heading else []
                lines += section.lines
        return name, "\n".join(lines)

    def _flush_terms(self) -> None:
        self.end_paragraph()
        kept = [
            term for term in self._terms if count_characters([term])[0].japanese >= 10
        ]  # a sentence that stands as a term
        self.sections[-1].lines += kept
        self._terms = []


def _is_mark(term: str) -> bool:
    return term in BULLETS or NUMBERED.match(term) is not None
