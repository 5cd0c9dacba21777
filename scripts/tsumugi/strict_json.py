"""JSON without what Python's parser lets pass: keys that stand twice, of which the last wins, and NaN, Infinity."""

import json
from collections import Counter
from typing import Any, NoReturn

from tsumugi.errors import TsumugiError


def parse_json(text: str) -> Any:
    """The value of a JSON document.

    Raises:
        TsumugiError: a key stands twice in one object, or a number is NaN or Infinity.
        ValueError: not JSON.
    """
    return json.loads(text, object_pairs_hook=_object, parse_constant=_no_number)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
        raise TsumugiError(f"the key {twice[0]!r} stands twice in one object; remove one of the two")
    return found


def _no_number(constant: str) -> NoReturn:
    raise TsumugiError(f"{constant} is no number that can be used; write a finite one")
