"""Datasets of Hugging Face: saved here with ``save_to_disk`` (Arrow streams), or on the hub under a name (Parquet)."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from tsumugi.corpus.document import Document
from tsumugi.corpus.hub import fetch_from_hub
from tsumugi.corpus.readers.local_files import document_of, read_local_files
from tsumugi.corpus.readers.raw_file import RawFile
from tsumugi.corpus.readers.rejected import Rejected
from tsumugi.errors import TsumugiError

END = b"\xff\xff\xff\xff\0\0\0\0"  # of an Arrow stream


def fetch_hf_dataset(spec: Mapping[str, Any], folder: Path, corpus: str) -> list[RawFile]:
    """The files of one split, in their order: Arrow files of the saved dataset ``folder``, or Parquet from the hub.

    Raises:
        TsumugiError: the folder holds no saved dataset, or no such split, or a file of it is missing; or see
            :func:`tsumugi.corpus.hub.fetch_from_hub`.
    """
    return _find_saved(spec, corpus) if spec.get("folder") else fetch_from_hub(spec, folder, corpus)


def read_hf_dataset(files: Sequence[RawFile], spec: Mapping[str, Any]) -> Iterator[Document | Rejected]:
    """The rows of every file, a batch of them in memory.

    Raises:
        TsumugiError: a file is no Arrow stream or no Parquet, or is cut off, or lacks a column.
    """
    return _read_saved(files, spec) if spec.get("folder") else read_local_files(files, {**spec, "format": "parquet"})


def _find_saved(spec: Mapping[str, Any], corpus: str) -> list[RawFile]:
    """The Arrow files of a saved dataset, or of one split of a saved ``DatasetDict``."""
    key, path = f"corpora.{corpus}", Path(spec["folder"])
    splits = _read_json(path / "dataset_dict.json").get("splits")
    if splits is not None:
        if spec["part"] not in splits:
            raise TsumugiError(f"{key}.part: {spec['part']!r} is no split of {path}; it has {', '.join(splits)}")
        path /= spec["part"]
    state = _read_json(path / "state.json")
    if "_data_files" not in state:
        raise TsumugiError(f"{key}.folder: {path} holds no dataset that datasets has saved (no state.json in it)")
    names = [entry.get("filename") for entry in state["_data_files"]]
    for name in map(str, names):
        if Path(name).name != name or not (path / name).is_file():
            raise TsumugiError(f"{path / 'state.json'}: names {name!r}, which is no file beside it; save it again")
    return [RawFile(str(path / name), name, None, spec["licence"]) for name in names]


def _read_saved(files: Sequence[RawFile], spec: Mapping[str, Any]) -> Iterator[Document | Rejected]:
    """The rows of Arrow streams."""
    for file in files:
        number = 0
        try:
            with pa.OSFile(file.path) as source, pa.ipc.open_stream(source) as stream:
                names = [name for name in spec["columns"].values() if name is not None]
                if not set(names) <= set(stream.schema.names):  # then the message shows all that there are
                    names = stream.schema.names
                for batch in stream:
                    for record in batch.select(names).to_pylist():
                        number += 1
                        yield document_of(file, number, record, spec["columns"])
                source.seek(source.size() - len(END))
                if source.read() != END:  # pyarrow takes a file that breaks off between two batches for a whole one
                    raise pa.ArrowInvalid("no mark at its end")
        except (pa.ArrowException, OSError) as error:
            raise TsumugiError(
                f"{file.path}: damaged or cut off after row {number:,} ({error}); save it again"
            ) from None


def _read_json(path: Path) -> Mapping[str, Any]:
    """A JSON object; an empty one where there is no file."""
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise TsumugiError(f"{path}: malformed JSON ({error}); save the dataset again") from None
    if not isinstance(found, dict):
        raise TsumugiError(f"{path}: found a JSON {type(found).__name__}, not what datasets writes; save it again")
    return found
