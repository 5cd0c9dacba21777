"""The roff language below the macro packages: comments, definitions, conditions, and a page's own macros."""

import re
from collections import deque
from collections.abc import Iterator

from tsumugi.corpus.extract.roff_escapes import STRINGS

_COMMENT = re.compile(r"(?<!\\)((?:\\\\)*)\\[\"#].*$")
_CONTROL = re.compile(r"^[.'][ \t]*([^\s\\]*)[ \t]*(.*)$", re.DOTALL)
_ARGUMENT = re.compile(r'"((?:[^"]|"")*)"?|((?:\\.|[^\s\\]|\\$)+)')
_PARAMETER = re.compile(r"\\+\$(?:([1-9])|([*@])|\((..)|\[([^\]]*)\])")
_CONDITION = re.compile(r"^(!?)([nt])\s*(.*)$", re.DOTALL)
_ANY_CONDITION = re.compile(r"^(?:'[^']*'[^']*'|\S+)\s*(.*)$", re.DOTALL)
MOST_EXPANSIONS = 5_000


def split_arguments(text: str) -> list[str]:
    """A macro's arguments: words, or quoted words in which ``""`` stands for a quotation mark."""
    return [
        match[1].replace('""', '"') if match[1] is not None else match[2]
        for match in _ARGUMENT.finditer(_COMMENT.sub(r"\1", text))
    ]


class RoffLines:
    """Iterates over ``(macro, rest)`` for control lines and ``("", text)`` for text lines.

    Macros named in ``known`` are passed on even where the page defines them again (pod2man and help2man do, in terms of
    low-level requests); the page's other macros are expanded here. ``strings`` fills as definitions are met.
    """

    def __init__(self, source: str, known: frozenset[str]) -> None:
        self.strings = dict(STRINGS)
        self._known = known
        self._macros: dict[str, list[str]] = {}
        self._pending = deque(source.split("\n"))
        self._expansions = 0
        self._else = False

    def __iter__(self) -> Iterator[tuple[str, str]]:
        while self._pending:
            line = self._pending.popleft()
            if "\\" in line:
                line = _COMMENT.sub(r"\1", line)
            control = _CONTROL.match(line) if line[:1] in {".", "'"} else None
            if control is None:
                yield "", line
            elif control[1]:
                yield from self._control(control[1], control[2])

    def _control(self, macro: str, rest: str) -> Iterator[tuple[str, str]]:
        if macro in {"de", "de1", "am", "ig"}:
            self._define(macro, rest)
        elif macro in {"ds", "as"}:
            name, _, value = rest.partition(" ")
            self.strings[name] = value.lstrip().removeprefix('"')
        elif macro in {"if", "ie", "el"}:
            self._branch(macro, rest)
        elif macro in {"rn", "als"}:
            return
        elif macro in self._macros and macro not in self._known:
            self._expand(macro, split_arguments(rest))
        else:
            yield macro, rest

    def _define(self, macro: str, rest: str) -> None:
        words = rest.split()
        end = words[1] if macro != "ig" and len(words) > 1 else words[0] if macro == "ig" and words else "."
        body: list[str] = []
        while self._pending:
            line = self._pending.popleft()
            if re.match(rf"^[.']\s*{re.escape(end)}\s*$", line):
                break
            body.append(line)
        if macro in {"de", "de1"} and words:
            self._macros[words[0]] = body

    def _expand(self, macro: str, arguments: list[str]) -> None:
        self._expansions += 1
        if self._expansions > MOST_EXPANSIONS:  # a macro that calls itself
            return

        def argument(match: re.Match[str]) -> str:
            if match[1]:
                return arguments[int(match[1]) - 1] if int(match[1]) <= len(arguments) else ""
            return " ".join(arguments) if match[2] else ""

        lines = [_PARAMETER.sub(argument, line).replace("\\\\", "\\") for line in self._macros[macro]]
        self._pending.extendleft(reversed(lines))

    def _branch(self, macro: str, rest: str) -> None:
        """Pages are read as on a terminal (``n``); a condition that would need registers is taken as false."""
        if macro == "el":
            holds, action = self._else, rest
        else:
            match = _CONDITION.match(rest)
            if match:
                holds, action = (match[2] == "n") != (match[1] == "!"), match[3]
            else:
                other = _ANY_CONDITION.match(rest)
                holds, action = False, other[1] if other else ""
            self._else = not holds
        lines = self._block(action)
        if holds:
            self._pending.extendleft(reversed(lines))

    def _block(self, action: str) -> list[str]:
        depth = action.count("\\{") - action.count("\\}")
        lines = [action]
        while (depth > 0 or lines[-1].endswith("\\")) and self._pending:
            line = self._pending.popleft()
            depth += line.count("\\{") - line.count("\\}")
            lines.append(line)
        cleaned = [line.replace("\\{", "").replace("\\}", "").rstrip("\\").strip() for line in lines]
        return [line for line in cleaned if line not in {"", "."}]
