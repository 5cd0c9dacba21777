"""The man(7) macro package, with tbl(1) tables and the additions of groff_man(7)."""

from collections.abc import Iterator

from tsumugi.corpus.extract.page_builder import PageBuilder
from tsumugi.corpus.extract.roff_escapes import unescape
from tsumugi.corpus.extract.roff_lines import RoffLines, split_arguments
from tsumugi.corpus.extract.roff_tables import TableRows

FONTS = {"B", "I", "R", "SM", "SB", "BI", "BR", "IB", "IR", "RB", "RI", "CW", "C", "T"}
BREAKS = {"PP", "LP", "P", "HP", "sp", "br", "Sp", "RS", "RE", "in", "ti", "ce", "Tp", "PD"}
LITERAL_ON = {"nf", "EX", "Vb", "DS", "Ds", "CS", "QS"}
LITERAL_OFF = {"fi", "EE", "Ve", "DE", "De", "CE", "QE"}
OTHERS = {"TH", "SH", "SS", "TP", "TQ", "IP", "IX", "TS", "TE", "OP", "UR", "UE", "MT", "ME", "SY", "YS", "EQ", "EN"}
KNOWN = frozenset(FONTS | BREAKS | LITERAL_ON | LITERAL_OFF | OTHERS)


class ManPage:
    """Interprets a page written with man(7) and feeds a :class:`PageBuilder`."""

    def __init__(self, source: str) -> None:
        self.builder = PageBuilder()
        self._lines = RoffLines(source, KNOWN)
        self._expects = ""  # "term" after .TP, "heading" after .SH alone: the next text is meant

    def read(self) -> PageBuilder:
        """Interpret the whole page."""
        lines = iter(self._lines)
        for macro, rest in lines:
            if macro == "TS":
                self.builder.end_paragraph()
                self._table(lines)
            elif macro == "EQ":
                for inner, _ in lines:
                    if inner == "EN":
                        break
            elif macro:
                self._macro(macro, rest)
            elif rest.strip():
                self._text(rest)
            elif self._expects != "term":
                self.builder.end_paragraph()
        return self.builder

    def _macro(self, macro: str, rest: str) -> None:
        builder = self.builder
        if macro in FONTS:
            self._text(self._font(macro, rest))
        elif macro in LITERAL_ON or macro in LITERAL_OFF:
            builder.end_paragraph()
            builder.literal = macro in LITERAL_ON
        elif macro in {"SH", "SS"}:
            heading = " ".join(split_arguments(rest))
            self._expects = "" if heading else "heading"
            if heading:
                builder.heading(self._shown(heading))
        elif macro in {"TP", "TQ"}:
            builder.end_paragraph()
            self._expects = "term"
        elif macro == "IP":
            arguments = split_arguments(rest)
            builder.term(self._shown(arguments[0]) if arguments else "")
            self._expects = ""
        elif macro in {"UE", "ME"}:
            builder.text(self._shown(rest.strip()))
        elif macro in BREAKS and not (self._expects == "term" and macro in {"PD", "RS", "RE", "in"}):
            builder.end_paragraph()

    def _text(self, text: str) -> None:
        glue = text.rstrip().endswith("\\c")
        shown = self._shown(text)
        if not shown.strip():
            return
        expected, self._expects = self._expects, ""
        if expected == "heading":
            self.builder.heading(shown)
        elif expected == "term":
            self._expects = "term" if glue else ""
            self.builder.term(shown)
        else:
            self.builder.text(shown, glue_next=glue)

    def _font(self, macro: str, rest: str) -> str:
        arguments = split_arguments(rest)
        alternates = len(macro) == 2 and macro not in {"SM", "SB", "CW"}
        return ("" if alternates else " ").join(arguments)

    def _shown(self, text: str) -> str:
        return unescape(text, self._lines.strings)

    def _table(self, lines: Iterator[tuple[str, str]]) -> None:
        """A row a line; ``T{ … T}`` cells span lines (tbl(1))."""
        table = TableRows()
        for macro, rest in lines:
            if macro == "TE":
                break
            if macro in FONTS:
                table.line(self._shown(self._font(macro, rest)))
            elif macro == "T&":
                table.in_format = True
            elif not macro:
                table.line(rest if table.in_format else self._shown(rest))
        self.builder.table(table.rows)
