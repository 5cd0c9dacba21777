"""JSON without what Python's parser lets pass: keys that stand twice, of which the last wins, and NaN, Infinity."""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any, NoReturn

from tsumugi.errors import TsumugiError


def parse_json(text: str) -> Any:
    """The value of a JSON document.

    Raises:
        TsumugiError: a key appears twice in one object, or a number is NaN or Infinity.
        ValueError: not JSON.
    """
    try:
        return json.loads(text, object_pairs_hook=object_of, parse_constant=_no_number)
    except RepeatedKeyError as error:
        raise TsumugiError(f"{error}; remove all but one") from None


class RepeatedKeyError(ValueError):
    """A key appears twice in one object, of which Python would take the last."""


def object_of(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys are different: a parser's ``object_pairs_hook``.

    Raises:
        RepeatedKeyError: two of them are the same.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        ((key, count),) = Counter(key for key, _ in pairs).most_common(1)
        raise RepeatedKeyError(f"the key {key!r} appears {count} times in one object")
    return found


def _no_number(constant: str) -> NoReturn:
    raise TsumugiError(f"{constant} is not a finite number; write one that is")
