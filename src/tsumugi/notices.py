"""What a run says of what it has found, as a notice and no error."""

import os
import sys
from functools import cache


@cache
def say_once(notice: str) -> None:
    """On the screen and in the log, once, and not by every process of a run."""
    if os.environ.get("RANK", "0") == "0":
        print(notice, file=sys.stderr, flush=True)
