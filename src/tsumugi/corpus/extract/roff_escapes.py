"""Roff escape sequences to plain characters (groff(7), "Escape sequences"; groff_char(7))."""

import re
from collections.abc import Mapping

GLYPHS = {
    **{"bu": "・", "em": "—", "en": "–", "hy": "-", "mi": "-", "aq": "'", "dq": '"', "lq": "“", "rq": "”", "oq": "‘"},
    **{"cq": "’", "co": "©", "rg": "®", "tm": "™", "ha": "^", "ti": "~", "rs": "\\", "+-": "±", "mu": "×", "di": "÷"},
    **{"de": "°", "eq": "=", "pl": "+", "**": "*", "sl": "/", "->": "→", "<-": "←", "ra": "〉", "la": "〈", "<=": "≤"},
    **{">=": "≥", "!=": "≠", "ga": "`", "aa": "´", "fm": "′", "dg": "†", "dd": "‡", "sc": "§", "bv": "|", "ba": "|"},
    **{"vc": "|", "at": "@", "sh": "#", "Do": "$", "Eu": "€", "Po": "£", "ct": "¢", "12": "½", "14": "¼", "*a": "α"},
    **{"*b": "β", "*m": "μ", "mc": "µ", "*p": "π", "*S": "Σ", "*W": "Ω", "pd": "∂", "if": "∞", "ts": "ς", "lB": "["},
    **{"rB": "]", "lC": "{", "rC": "}", "ah": "ˇ", "a^": "^", "'a": "á", "'e": "é", ":a": "ä", ":o": "ö", ":u": "ü"},
    **{"ss": "ß", "ul": "_", "ru": "_", "sq": "□", "ci": "○", "Of": "ª", "Om": "º", "r!": "¡", "r?": "¿", "an": "―"},
}
STRINGS = {"lq": "“", "rq": "”", "R": "®", "Tm": "™", "Aq": "'", "Lq": "“", "Rq": "”", "Ba": "|", "q": '"'}
LETTERS = {"e": "\\", "\\": "\\", "-": "-", "'": "'", "`": "`", ".": ".", " ": " ", "~": " ", "0": " ", "t": " "}
_NAME = r"(?:\((?P<{0}2>..)|\[(?P<{0}n>[^\]]*)\]|(?P<{0}1>.))"
_ESCAPE = re.compile(
    r"\\(?:"
    + rf"\*{_NAME.format('s')}"  # a string
    + r"|[fFgkmMnVY](?:\(..|\[[^\]]*\]|[+-]?.)"  # font, colour, register: nothing to be seen
    + r"|s(?:[+-]?\d{1,2}|[+-]?\(\d\d|[+-]?\[[^\]]*\]|[+-]?'[^']*')"  # size
    + r"|[CN](?P<quoted>'[^']*')"  # a character by name or number
    + r"|o'(?P<overstruck>.)[^']*'"
    + r"|[AbBDhHlLRSvwxXZ]'[^']*'"  # motion, drawing, width
    + r"|\((?P<glyph2>..)|\[(?P<glyph>[^\]]*)\]"
    + r"|(?P<letter>.)|$)"
)


def unescape(text: str, strings: Mapping[str, str] = STRINGS, depth: int = 8) -> str:
    """``text`` with every escape sequence replaced by what it shows; ``strings`` holds those of the page (``.ds``)."""

    if "\\" not in text:
        return text

    def shown(match: re.Match[str]) -> str:
        groups = match.groupdict()
        name = groups["s2"] or groups["sn"] or groups["s1"]
        if name is not None:
            return unescape(strings.get(name, ""), strings, depth - 1) if depth else ""
        if groups["quoted"] is not None:
            return _named_character(groups["quoted"].strip("'"))
        if groups["overstruck"] is not None:
            return groups["overstruck"]
        if groups["glyph2"] is not None or groups["glyph"] is not None:
            return _named_character(groups["glyph2"] or groups["glyph"] or "")
        return LETTERS.get(groups["letter"] or "", "")

    return _ESCAPE.sub(shown, text)


def _named_character(name: str) -> str:
    number = re.fullmatch(r"u([0-9A-Fa-f]{4,6})(?:_[0-9A-Fa-f_]+)?", name)
    code = int(number[1], 16) if number else int(name) if name.isdigit() and len(name) > 2 else None
    if code is not None:
        return chr(code) if 32 <= code < 0xD800 or 0xDFFF < code < 0x110000 else ""
    return GLYPHS.get(name, name if len(name) == 1 else "")
