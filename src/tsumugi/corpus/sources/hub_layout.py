"""Which Parquet files of a dataset's repository are which split.

A dataset's card may say so (``configs`` in the head of its README); else the names do, where they follow one of the
layouts below. Both are described in the hub's documentation (Data files configuration, File names and splits).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fsspec.utils import glob_translate

Splits = dict[str, dict[str, list[str]]]  # config -> split -> paths in the repository
DEFAULT = "default"
LAYOUTS = (
    # What push_to_hub writes, with the hash that it once put behind: data/train-00000-of-00002.parquet
    re.compile(r"(?:(?P<config>[^/]+)/)?(?P<split>[^/]+)-\d+-of-\d+(?:-[0-9a-f]{16})?\.parquet"),
    # The hub's own conversion, in the branch refs/convert/parquet: default/train/0000.parquet
    re.compile(r"(?:(?P<config>[^/]+)/)?(?P<split>[^/]+)/\d+\.parquet"),
    # One file a split: train.parquet
    re.compile(r"(?:(?P<config>[^/]+)/)?(?P<split>train|validation|valid|dev|test)\.parquet"),
)


def declared_splits(configs: Any, paths: Sequence[str]) -> Splits:
    """The splits that the card's ``configs`` name, as far as their files are Parquet; none if there are no configs."""
    found: Splits = {}
    for config in configs or ():
        for split, patterns in _data_files(config.get("data_files")):
            wanted = re.compile("|".join(map(glob_translate, patterns)))
            files = sorted(path for path in paths if wanted.fullmatch(path))
            if files and all(path.endswith(".parquet") for path in files):
                found.setdefault(config.get("config_name", DEFAULT), {})[split] = files
    return found


def named_splits(paths: Sequence[str]) -> Splits:
    """The splits that the names of the Parquet files tell; none if one of the names tells nothing."""
    found: Splits = {}
    for path in sorted(path for path in paths if path.endswith(".parquet")):
        match = next(filter(None, (layout.fullmatch(path) for layout in LAYOUTS)), None)
        if match is None:
            return {}
        config = DEFAULT if match["config"] in (None, "data") else match["config"]
        found.setdefault(config, {}).setdefault(match["split"], []).append(path)
    return found


def _data_files(declared: Any) -> Iterator[tuple[str, list[str]]]:
    """Split and patterns, from each of the forms that ``data_files`` may have."""
    if isinstance(declared, Mapping):
        declared = [{"split": split, "path": path} for split, path in declared.items()]
    entries = [declared] if isinstance(declared, str) else declared or []
    plain = [entry for entry in entries if isinstance(entry, str)]
    if plain:
        yield "train", plain
    for entry in entries:
        if isinstance(entry, Mapping) and (path := entry.get("path")):
            yield entry.get("split", "train"), [path] if isinstance(path, str) else list(path)
