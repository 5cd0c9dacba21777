"""The rules by which a text is cleaned, one after the other."""

import re

LINE_BREAKS = re.compile("\r\n?|[\u2028\u2029\x0b\x0c\x85]")
# C0 and C1 controls but tab and line feed; byte order mark; characters that Unicode will never assign (U+FFFE, U+FFFF).
CONTROLS = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ufeff\ufffe\uffff]")
_TRAILING = re.compile("(?<![ \t\u3000])[ \t\u3000]+$", re.MULTILINE)  # once for a run of blanks, not for each
_BLANK_LINES = re.compile("\n{3,}")


def clean_text(text: str) -> str:
    """Unify line breaks, take control characters out, trim the ends of lines, leave one blank line of a run."""
    text = LINE_BREAKS.sub("\n", text)
    text = CONTROLS.sub("", text).replace("\t", " ")
    text = _TRAILING.sub("", text)
    return _BLANK_LINES.sub("\n\n", text).strip("\n")
