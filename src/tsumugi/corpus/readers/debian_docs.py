"""Japanese documents out of packages: Debian's, its source packages, its package descriptions; npm's and Python's.

What pages look like is found from where they lie in a package: see ``package_pages``.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from tsumugi.corpus.readers.base import Reader
from tsumugi.corpus.sections import CorpusBase
from tsumugi.corpus.storage.document import Document
from tsumugi.corpus.storage.raw_file import RawFile
from tsumugi.schema.base import Flag, TextLike

DebianName = Annotated[str, TextLike(r"^[a-z0-9][a-z0-9+.-]+$", "the name of a Debian package")]
NpmPackage = Annotated[str, TextLike(r"^(@[a-z0-9._-]+/)?[a-z0-9][a-z0-9._-]*@\d[\w.+-]*$", "name@version")]
PypiPackage = Annotated[str, TextLike(r"^[A-Za-z0-9][\w.-]*==\d[\w.+!]*$", "name==version")]
MemberPatterns = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]


class DebianDocs(CorpusBase):
    """Japanese documents out of packages, fetched by name: Debian's with apt-get, others with npm and pip."""

    reader: Literal["debian_docs"]
    packages: tuple[DebianName, ...] = Field((), description="of Debian: manuals, manual pages, help")
    source_packages: tuple[DebianName, ...] = Field((), description="of Debian: sentencepiece brings a novel")
    package_descriptions: Flag = Field(
        False, description="the Japanese descriptions of all of Debian's packages; their licence is not stated"
    )
    npm_packages: tuple[NpmPackage, ...] = Field((), description="name@version: electron-i18n, freee-mcp")
    pypi_packages: tuple[PypiPackage, ...] = Field((), description="name==version: juricode-mcp")
    members: dict[DebianName, MemberPatterns] = Field(
        default={}, description="of these packages, only members whose path matches one of the patterns (with *)"
    )

    @model_validator(mode="after")
    def _there_is_something_to_read(self) -> "DebianDocs":
        named = {*self.packages, *self.source_packages, *(npm.rpartition("@")[0] for npm in self.npm_packages)}
        if not named and not self.pypi_packages and not self.package_descriptions:
            raise ValueError(
                "give packages, source_packages, npm_packages, pypi_packages or package_descriptions: true"
            )
        if unknown := sorted(set(self.members) - named):
            raise ValueError(f"members: {', '.join(unknown)} is none of the packages ({', '.join(sorted(named))})")
        return self


def fetch_debian_docs(spec: Mapping[str, Any], folder: Path, corpus: str) -> list[RawFile]:
    """Find the files of the packages in ``folder``, else download them into it.

    Raises:
        TsumugiError: see :func:`tsumugi.corpus.readers.package_files.fetch_package_files`.
    """
    # what knows archives and pages is imported by the jobs, as below, not with the configuration
    from tsumugi.corpus.readers.package_files import fetch_package_files

    return fetch_package_files(spec, folder, corpus)


def read_debian_docs(files: Sequence[RawFile], spec: Mapping[str, Any]) -> Iterator[Document]:
    """The documents of every package, in the order of its archive; then the package descriptions.

    Raises:
        TsumugiError: a package is damaged; also when that shows only at its end, after documents have been yielded. Or
            it holds no page that is known here.
    """
    from tsumugi.corpus.readers.package_index import INDEXES, read_descriptions
    from tsumugi.corpus.readers.package_members import MemberReader

    reader = MemberReader(spec.get("members") or {})
    for file in files:
        if not file.path.endswith(INDEXES):
            yield from reader.read(file)
    yield from read_descriptions(files)


DEBIAN_DOCS = Reader(DebianDocs, fetch_debian_docs, read_debian_docs)
