"""What an extractor makes of a page, or of a section of it."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Page:
    """Title and body; the body is a paragraph a line. ``category`` and ``licence``: where the page itself says them."""

    title: str
    text: str
    category: str | None = None
    licence: str | None = None


def lines_of(blocks: Iterable[tuple[bool, str]]) -> list[str]:
    """The lines of (is a heading, text): no heading without text behind it, and no line that repeats the last one."""
    lines: list[str] = []
    heading: str | None = None
    for is_heading, text in blocks:
        if is_heading:
            heading = text
            continue
        if heading is not None:
            lines.append(heading)
            heading = None
        if not lines or lines[-1] != text:
            lines.append(text)
    return lines
