"""Raw files that lie here already, or that are downloaded."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from tsumugi.corpus.sections import CorpusBase
from tsumugi.corpus.sources.addresses import is_url, name_of
from tsumugi.corpus.sources.file_patterns import matching_files
from tsumugi.corpus.storage.raw_file import RawFile
from tsumugi.errors import TsumugiError


class FileCorpus(CorpusBase):
    """What is read from files that lie here, or that are downloaded: the latter need their hash in ``sha256``."""

    files: Annotated[
        tuple[str, ...],
        Field(min_length=1, description="paths or glob patterns, from the working folder, or addresses"),
    ]
    licence: str = "unknown"

    @model_validator(mode="after")
    def _downloads_are_pinned(self) -> "FileCorpus":
        for file in self.files:
            if is_url(file) and name_of(file) not in self.sha256:
                raise ValueError(f"files: {file} needs its hash, as sha256: {{{name_of(file)}: …}}")
        return self


def find_files(spec: Mapping[str, Any], folder: Path, corpus: str) -> list[RawFile]:
    """Expand the paths, patterns and addresses of ``files``, each file once, in their order and then by name.

    Raises:
        TsumugiError: a pattern matches no file, or a file cannot be downloaded.
    """
    found: dict[str, RawFile] = {}
    for pattern in spec["files"]:
        for path in _paths(pattern, spec.get("sha256") or {}, folder, corpus):
            found.setdefault(path, RawFile(path, Path(path).name, None, spec.get("licence") or "unknown"))
    return list(found.values())


def _paths(pattern: str, pins: Mapping[str, str], folder: Path, corpus: str) -> list[str]:
    if is_url(pattern):
        from tsumugi.corpus.sources.download import download  # requests takes long to import with the configuration

        return [str(download(pattern, folder, pins[name_of(pattern)]))]
    paths = matching_files(pattern)
    if not paths:
        raise TsumugiError(
            f"corpora.{corpus}.files: {pattern!r} matches no file; paths are meant from the working "
            f"folder, {Path.cwd()}"
        )
    return paths
