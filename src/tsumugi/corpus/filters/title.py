"""The filter ``title``: whether there is one."""

from typing import Literal

from tsumugi.corpus.filters.base import Candidate, Filter


class TitleFilter(Filter):
    """Keep documents that have a title: a task that starts from the title needs one."""

    name: Literal["title"]

    def drop_reason(self, document: Candidate) -> str | None:
        """That there is no title, if there is none."""
        return None if document.title else "no title"
