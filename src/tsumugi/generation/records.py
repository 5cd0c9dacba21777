"""The lines of a generations file."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypedDict

from tsumugi.atomic import atomic_path
from tsumugi.errors import TsumugiError


class Record(TypedDict):
    """One line. ``reference`` is the whole original; ``target_characters`` of it fit into the task's output limit."""

    id: str
    title: str
    category: str | None
    input: str
    reference: str
    target_characters: int
    output: str
    tokens: int
    seconds: float


def write_records(path: str | Path, records: Iterable[Record]) -> None:
    """Write JSON lines, atomically."""
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def read_records(path: str | Path) -> Iterator[Record]:
    """Read them again, one at a time.

    Raises:
        TsumugiError: the file is missing, or a line is no record.
    """
    try:
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                try:
                    record = json.loads(line)
                    missing = [key for key in Record.__annotations__ if key not in record]
                except (ValueError, TypeError) as error:
                    raise TsumugiError(
                        f"{path}, line {number}: not a record ({error}); run generate_text again"
                    ) from None
                if missing:
                    raise TsumugiError(f"{path}, line {number}: no {', '.join(missing)}; run generate_text again")
                yield record
    except OSError as error:
        raise TsumugiError(f"{path}: cannot be read ({error.strerror}); run generate_text first") from None
