"""The mdoc(7) macro package: semantic macros, many of which are called inside the arguments of others."""

import re

from tsumugi.corpus.extract.page_builder import PageBuilder
from tsumugi.corpus.extract.roff_escapes import unescape
from tsumugi.corpus.extract.roff_lines import RoffLines, split_arguments

PLAIN = {
    *("Ar", "Cm", "Ic", "Li", "Pa", "Va", "Vt", "Fa", "Ev", "Dv", "Er", "Em", "Sy", "No", "Tn", "Ms", "Ad", "An"),
    *("Ft", "Cd", "Lk", "Mt", "St", "Lb", "At", "Id"),
}
ENCLOSE = {"Op": "[]", "Dq": "“”", "Sq": "‘’", "Ql": "‘’", "Pq": "()", "Bq": "[]", "Aq": "<>", "Qq": '""', "Brq": "{}"}
OPEN = {"Ao": "<", "Po": "(", "Bo": "[", "Oo": "[", "Do": "“", "So": "‘", "Qo": '"', "Bro": "{"}
CLOSE = {"Ac": ">", "Pc": ")", "Bc": "]", "Oc": "]", "Dc": "”", "Sc": "’", "Qc": '"', "Brc": "}"}
SYSTEMS = {
    "Bx": "BSD",
    "Fx": "FreeBSD",
    "Nx": "NetBSD",
    "Ox": "OpenBSD",
    "Ux": "UNIX",
    "Bsx": "BSD/OS",
    "Dx": "DragonFly",
}
SILENT = {"Xo", "Xc", "Sm", "Bk", "Ek", "Hf", "Os"}
INLINE = {*PLAIN, *ENCLOSE, *OPEN, *CLOSE, *SYSTEMS, *SILENT, "Fl", "Nm", "Xr", "Fn", "Ns", "Ap", "Pf", "Sx", "Nd"}
BLOCK = {
    *("Dd", "Dt", "Sh", "Ss", "Pp", "Bl", "El", "It", "Bd", "Ed", "Dl", "D1", "Rs", "Re", "Rv", "Ex", "Lp", "br", "sp"),
}
KNOWN = frozenset(INLINE | BLOCK)
_PUNCTUATION = re.compile(r"^[.,;:?!)\]]+$")
_GLUE = "\0"  # between two words that stand together


class MdocPage:
    """Interprets a page written with mdoc(7) and feeds a :class:`PageBuilder`."""

    def __init__(self, source: str) -> None:
        self.builder = PageBuilder()
        self._lines = RoffLines(source, KNOWN)
        self._name = ""
        self._lists: list[str] = []
        self._skipped = 0  # inside a bibliographic reference

    def read(self) -> PageBuilder:
        """Interpret the whole page."""
        for macro, rest in self._lines:
            if macro in BLOCK:
                self._block(macro, split_arguments(rest))
            elif self._skipped:
                continue
            elif macro in INLINE:
                self.builder.text(self._render([macro, *split_arguments(rest)]))
            elif not macro:
                if rest.strip():
                    self.builder.text(self._shown(rest), glue_next=rest.rstrip().endswith("\\c"))
                else:
                    self.builder.end_paragraph()
        return self.builder

    def _block(self, macro: str, arguments: list[str]) -> None:
        builder = self.builder
        if macro in {"Sh", "Ss"}:
            builder.heading(self._render(arguments))
        elif macro == "Bl":
            builder.end_paragraph()
            self._lists.append(arguments[0] if arguments else "")
        elif macro == "El":
            builder.end_paragraph()
            self._lists = self._lists[:-1]
        elif macro == "It":
            kind = self._lists[-1] if self._lists else ""
            builder.term("・" if kind in {"-bullet", "-dash", "-hyphen"} else self._render(arguments))
        elif macro == "Bd":
            builder.end_paragraph()
            builder.literal += bool({"-literal", "-unfilled"} & set(arguments))
        elif macro == "Ed":
            builder.end_paragraph()
            builder.literal = 0
        elif macro in {"Rs", "Re"}:
            self._skipped = macro == "Rs"
        else:
            builder.end_paragraph()

    def _shown(self, text: str) -> str:
        return unescape(text, self._lines.strings)

    def _render(self, tokens: list[str]) -> str:
        words = self._words(tokens)
        text = " ".join(words)
        return re.sub(rf" ?{_GLUE} ?", "", text)

    def _words(self, tokens: list[str]) -> list[str]:
        words: list[str] = []
        position, flags = 0, False
        while position < len(tokens):
            token = tokens[position]
            position += 1
            if token in INLINE:
                flags = token == "Fl"
                if token in ENCLOSE:
                    return words + self._enclosed(ENCLOSE[token], tokens[position:])
                position = self._call(token, tokens, position, words)
            elif _PUNCTUATION.match(token):
                words += [_GLUE, token]
            else:
                words.append(("-" if flags else "") + self._shown(token))
        return words

    def _enclosed(self, marks: str, tokens: list[str]) -> list[str]:
        tail = 0
        while tail < len(tokens) and _PUNCTUATION.match(tokens[len(tokens) - 1 - tail]):
            tail += 1
        inner, after = tokens[: len(tokens) - tail], tokens[len(tokens) - tail :]
        return [marks[0], _GLUE, *self._words(inner), _GLUE, marks[1], *(x for mark in after for x in (_GLUE, mark))]

    def _call(self, macro: str, tokens: list[str], position: int, words: list[str]) -> int:
        """Append what ``macro`` shows; return the position after the arguments that it used up."""

        def next_word() -> str | None:
            plain = position < len(tokens) and tokens[position] not in INLINE
            return tokens[position] if plain and not _PUNCTUATION.match(tokens[position]) else None

        following = next_word()
        if macro in OPEN:
            words += [OPEN[macro], _GLUE]
        elif macro in CLOSE:
            words += [_GLUE, CLOSE[macro]]
        elif macro in SYSTEMS:
            words.append(SYSTEMS[macro])
        elif macro in {"Ns", "Ap"}:
            words += [_GLUE] if macro == "Ns" else [_GLUE, "'", _GLUE]
        elif macro == "Nd" or (macro == "Fl" and following is None):
            words.append("-")
        elif macro == "Nm":
            self._name = self._name or self._shown(following or "")
            words += [] if following else [self._name]
        elif macro == "Pf" and following is not None:
            words += [self._shown(following), _GLUE]
            return position + 1
        elif macro in {"Xr", "Fn"} and following is not None:
            words.append(self._shown(following))
            position += 1
            arguments = []
            while macro == "Fn" and (word := next_word()) is not None:
                arguments.append(self._shown(word))
                position += 1
            if macro == "Fn":
                words += [_GLUE, f"({', '.join(arguments)})"]
            elif (section := next_word()) is not None:
                words += [_GLUE, f"({self._shown(section)})"]
                position += 1
        return position
