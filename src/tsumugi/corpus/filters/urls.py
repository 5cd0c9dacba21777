"""The filter ``urls``: the share of web addresses."""

import re
from typing import Literal

from tsumugi.corpus.filters.base import Candidate, Filter, reason_if_above
from tsumugi.schema.base import Share

_URL = re.compile(r"https?://[!-~]+")


class UrlsFilter(Filter):
    """Keep documents of whose characters at most this share stand in addresses of the web."""

    name: Literal["urls"]
    max_share: Share = 0.2

    def drop_reason(self, document: Candidate) -> str | None:
        """The share of the characters, if it is too large."""
        addresses = _URL.findall(document.text) if "://" in document.text else []
        return reason_if_above(
            self.max_share, sum(map(len, addresses)), len(document.text), "of the characters are addresses"
        )
