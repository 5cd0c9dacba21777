"""Datasets of Hugging Face: saved here with ``save_to_disk`` (Arrow streams), or on the hub under a name (Parquet)."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from tsumugi.corpus.readers.base import Reader
from tsumugi.corpus.readers.local_files import Columns, document_of, read_local_files
from tsumugi.corpus.sections import CorpusBase
from tsumugi.corpus.storage.document import Document
from tsumugi.corpus.storage.raw_file import RawFile
from tsumugi.corpus.storage.rejected_record import Rejected
from tsumugi.errors import TsumugiError
from tsumugi.schema.base import LocalPath, TextLike
from tsumugi.schema.json_object import read_json_object

DEFAULT_PART = "train"  # of the configuration: what a dataset without splits is read as
DatasetName = Annotated[
    str, TextLike(r"^\w[\w.-]*(/\w[\w.-]*)?$", "the name of a dataset on the hub, as in org/dataset")
]


class HfDataset(CorpusBase):
    """A dataset of Hugging Face: saved here with ``save_to_disk``, or on the hub, of which the Parquet is fetched."""

    reader: Literal["hf_dataset"]
    folder: LocalPath | None = Field(None, description="of a saved dataset; give this or name")
    name: DatasetName | None = Field(None, description="on the hub, as in org/dataset")
    config: str | None = Field(None, description="of the dataset name: its subset; default, or the only one")
    revision: str | None = Field(
        None, description="of the dataset name: branch, tag or commit; the main branch, or the hub's own conversion"
    )
    part: str = Field(DEFAULT_PART, description="which of the dataset's splits is read; ours are made of it")
    columns: Columns = Columns()
    licence: str = Field("unknown", description="where it says nothing, of the dataset name that of its card")

    @model_validator(mode="after")
    def _it_is_here_or_on_the_hub(self) -> "HfDataset":
        if (self.folder is None) == (self.name is None):
            raise ValueError("give folder (a saved dataset) or name (one on the hub), and not both")
        if self.folder is not None and (self.config is not None or self.revision is not None):
            raise ValueError("config and revision are for a dataset on the hub (name); a folder has none")
        return self


def fetch_hf_dataset(spec: Mapping[str, Any], folder: Path, corpus: str) -> list[RawFile]:
    """The files of one split, in their order: Arrow files of the saved dataset ``folder``, or Parquet from the hub.

    Raises:
        TsumugiError: the folder holds no saved dataset, or no such split, or a file of it is missing; or see
            :func:`tsumugi.corpus.sources.hub.fetch_from_hub`.
    """
    if spec.get("folder"):
        return _find_saved(spec, corpus)
    from tsumugi.corpus.sources.hub import fetch_from_hub  # like pyarrow below: not imported with the configuration

    return fetch_from_hub(spec, folder, corpus)


def read_hf_dataset(files: Sequence[RawFile], spec: Mapping[str, Any]) -> Iterator[Document | Rejected]:
    """The rows of every file, a batch of them in memory.

    Raises:
        TsumugiError: a file is no Arrow stream or no Parquet, or is cut off, or lacks a column.
    """
    return _read_saved(files, spec) if spec.get("folder") else read_local_files(files, {**spec, "format": "parquet"})


def _find_saved(spec: Mapping[str, Any], corpus: str) -> list[RawFile]:
    """The Arrow files of a saved dataset, or of one split of a saved ``DatasetDict``, and the state that names them."""
    from tsumugi.corpus.readers.saved_dataset import AGAIN, STATE, SavedState

    key, path = f"corpora.{corpus}", Path(spec["folder"])
    splits = read_json_object(path / "dataset_dict.json", AGAIN).get("splits")
    if splits is not None:
        if spec["part"] not in splits:
            raise TsumugiError(f"{key}.part: {spec['part']!r} is no split of {path}; it has {', '.join(splits)}")
        path /= spec["part"]
    if not (path / STATE).is_file():
        raise TsumugiError(f"{key}.folder: {path} holds no dataset that datasets has saved (no {STATE} in it)")
    state = SavedState(path / STATE)
    if splits is None and spec["part"] not in (DEFAULT_PART, state.split):
        saved = f"the split {state.split!r}" if state.split else "one dataset without splits"
        raise TsumugiError(f"{key}.part: {spec['part']!r} is no split of {path}, which is {saved}; leave part out")
    names = [*(segment.name for segment in [*state.data, *state.indices]), STATE]
    return [RawFile(str(path / name), name, None, spec["licence"]) for name in dict.fromkeys(names)]


def _read_saved(files: Sequence[RawFile], spec: Mapping[str, Any]) -> Iterator[Document | Rejected]:
    from tsumugi.corpus.readers.saved_dataset import STATE, SavedState, saved_rows

    by_name = {file.name: file for file in files}
    if STATE not in by_name:
        raise TsumugiError(f"{spec['folder']}: {STATE} was not recorded with its files; run fetch_corpus again")
    state = SavedState(Path(by_name[STATE].path))
    for path, number, record in saved_rows(state, spec["columns"].values()):
        file = by_name[path.name]
        yield record if isinstance(record, Rejected) else document_of(file, number, record, spec["columns"])


HF_DATASET = Reader(HfDataset, fetch_hf_dataset, read_hf_dataset)
