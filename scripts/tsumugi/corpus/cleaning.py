"""Done to every text before it is normalized: no control characters, no trailing blanks, no runs of blank lines."""

import re

_LINE_BREAKS = re.compile("\r\n?|[\u2028\u2029\x0b\x0c\x85]")
# C0 and C1 controls but tab and line feed; byte order mark; characters that Unicode will never assign (U+FFFE, U+FFFF).
_CONTROLS = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ufeff\ufffe\uffff]")
_TRAILING = re.compile("[ \t\u3000]+$", re.MULTILINE)
_BLANK_LINES = re.compile("\n{3,}")


def clean_text(text: str) -> str:
    """Unify line breaks, take control characters out, trim the ends of lines, leave one blank line of a run."""
    text = _LINE_BREAKS.sub("\n", text)
    text = _CONTROLS.sub("", text).replace("\t", " ")
    text = _TRAILING.sub("", text)
    return _BLANK_LINES.sub("\n\n", text).strip("\n")


def clean_title(title: str) -> str:
    """The same for a title, which is one line."""
    return " ".join(clean_text(title).split())
