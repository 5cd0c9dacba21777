"""The names of a table's columns."""

from collections.abc import Iterable, Sequence

from tsumugi.errors import TsumugiError


def refuse_repeated_columns(place: str, names: Sequence[str], wanted: Iterable[str | None]) -> None:
    """Check that the wanted columns of a table can be told by their names; others may have the same name.

    Raises:
        TsumugiError: several columns have a name that is wanted.
    """
    for name in wanted:
        if (number := names.count(name)) > 1:
            raise TsumugiError(
                f"{place}: {number} columns are called {name!r}, and which of them is meant is not known (it has: "
                f"{', '.join(names)}); give each its own name"
            )
