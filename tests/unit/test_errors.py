"""What is shown of an exception that others raised."""

import pytest

from tsumugi.errors import first_line


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (RuntimeError("one\ntwo"), "one"),
        (RuntimeError("\n  one\r\ntwo"), "one"),
        (MemoryError(), "MemoryError"),
        (ValueError(" \n "), "ValueError"),
    ],
)
def test_an_exception_is_shown_by_its_first_line_or_its_name(error, shown):
    assert first_line(error) == shown
