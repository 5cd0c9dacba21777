"""What an unquoted word of a YAML file is: null, true, false, a decimal number, or else the text that stands there.

YAML 1.1, which PyYAML reads, takes 012 for ten, 12:30 for 750, 0x1F for 31, 1_000 for 1000, 2020-01-01 for a date and
no for false. Here these are texts: a key that wants a text gets it as written, and one that wants a number refuses it.
"""

import re
from collections.abc import Callable, Mapping

_NUMBER = r"[-+]?(?:0|[1-9][0-9]*)"
INTEGER = re.compile(rf"{_NUMBER}\Z")
FRACTION = re.compile(rf"(?:{_NUMBER}\.[0-9]*|[-+]?\.[0-9]+)(?:[eE][-+]?[0-9]+)?\Z")
SCIENTIFIC = re.compile(rf"{_NUMBER}[eE][-+]?[0-9]+\Z")  # 1e-3: a text in YAML 1.1, a number where a key wants one
OTHER_RULES = re.compile(r"[-+]?(?:0[xob][0-9a-f_]+|[0-9][0-9_]*(?::[0-9.]+)+)\Z", re.IGNORECASE)

Plain = bool | int | float | str | None

TYPES: Mapping[str, tuple[re.Pattern[str], Callable[[str], Plain]]] = {
    "null": (re.compile(r"(?:~|null|Null|NULL|)\Z"), lambda text: None),
    "bool": (re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"), lambda text: text.lower() == "true"),
    "int": (INTEGER, int),
    "float": (FRACTION, float),
}


def plain_scalar(text: str) -> Plain:
    """The value of an unquoted word."""
    for pattern, convert in TYPES.values():
        if pattern.match(text):
            return convert(text)
    return text


def decimal_number(text: str) -> int | float | None:
    """The number that a text shows in decimal digits, as 12, 0.5 or 1e-3; None of any other text."""
    if INTEGER.match(text):
        return int(text)
    return float(text) if FRACTION.match(text) or SCIENTIFIC.match(text) else None


def is_number_by_other_rules(text: str) -> bool:
    """Whether YAML 1.1 or Python would read a number that does not stand there in decimal digits."""
    try:
        float(text)
    except ValueError:
        return bool(OTHER_RULES.match(text))
    return decimal_number(text) is None
