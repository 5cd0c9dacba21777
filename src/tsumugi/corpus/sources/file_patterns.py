"""The raw files that a path or a pattern of the configuration stands for."""

import os
from glob import escape, glob
from itertools import accumulate


def matching_files(pattern: str) -> list[str]:
    """The files, by name, each as the pattern writes its path: documents are told apart by it.

    ``~`` is the home folder. A part with ``[`` that exists as it is written is no pattern (``texts[2020]/*.txt``).
    """
    parts = pattern.split("/")
    if not os.path.exists(parts[0]):
        parts = os.path.expanduser(pattern).split("/")
    paths = accumulate(parts, "{}/{}".format)
    as_pattern = "/".join(
        escape(part) if "[" in part and os.path.exists(path) else part for part, path in zip(parts, paths, strict=True)
    )
    return sorted(found for found in glob(as_pattern, recursive=True) if os.path.isfile(found))
