"""Raw files: fetched or found, checked against their pins, recorded."""

import os
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tsumugi.corpus.readers import READERS, RawFile
from tsumugi.errors import TsumugiError
from tsumugi.provenance import Manifest, file_sha256, read_manifest, seen, write_manifest
from tsumugi.provenance.external_files import HashMemory, changed_files


def fetch_corpus(spec: Mapping[str, Any], folder: Path, output: Path) -> Manifest:
    """Fetch or find the raw files of a corpus and record them in the manifest ``output``.

    Args:
        spec: ``reader``, what that reader needs (``packages``, or ``files`` and ``licence``), and ``sha256`` (pins).
        folder: ``data/{corpus}``; its last part is the corpus's name.

    Raises:
        TsumugiError: a file is missing, or has not the pinned hash.
    """
    started = time.time()
    corpus = folder.name
    if spec["reader"] not in READERS:
        raise TsumugiError(f"corpora.{corpus}.reader: {spec['reader']!r} is none of {', '.join(READERS)}")
    files = READERS[spec["reader"]].fetch(spec, folder, corpus)
    states = {file.path: seen(file.path) for file in files}
    _check_pins(spec.get("sha256") or {}, files, corpus)
    described = [{"file": file.path, "bytes": Path(file.path).stat().st_size, **asdict(file)} for file in files]
    for entry in described:
        del entry["path"]
    return write_manifest(
        output,
        kind="fetch_corpus",
        spec=spec,
        found=states,
        results={"files": described, "bytes": sum(entry["bytes"] for entry in described)},
        started=started,
    )


def _check_pins(pins: Mapping[str, str], files: list[RawFile], corpus: str) -> None:
    names = [Path(file.path).name for file in files]
    for pinned in pins:
        if pinned not in names:
            raise TsumugiError(
                f"corpora.{corpus}.sha256: {pinned} is pinned, but the files are {', '.join(names)}; put the pinned "
                "file into the data folder, or pin what there is now"
            )
    for name, file in zip(names, files, strict=True):  # every file of a name: two folders may hold one each
        if name in pins and (found := file_sha256(file.path)) != pins[name]:
            raise TsumugiError(
                f"{file.path}: its sha256 is {found}, but corpora.{corpus}.sha256 pins {pins[name]}; "
                "replace the file, or correct the pin"
            )


def recorded_files(path: str | Path) -> list[RawFile]:
    """The raw files that :func:`fetch_corpus` recorded, in order.

    Raises:
        TsumugiError: one of them is gone, has another size, or was touched since and has another content.
    """
    entries = read_manifest(path)["results"]["files"]
    changed = changed_files(path, [os.path.relpath(entry["file"]) for entry in entries], HashMemory())
    if changed:
        name, reason = next(iter(changed.items()))
        raise TsumugiError(f"{name}: {reason}; restore the file, or run snakemake again, which makes the corpus anew")
    return [RawFile(entry["file"], entry["name"], entry["version"], entry["licence"]) for entry in entries]
