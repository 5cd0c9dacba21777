"""Descriptions of packages out of apt's indexes: Translation-ja, and Packages, which says their sections."""

from collections.abc import Iterator, Sequence

from debian.deb822 import Deb822

from tsumugi.corpus.extract.package_descriptions import extract_description
from tsumugi.corpus.storage.document import Document
from tsumugi.corpus.storage.raw_file import RawFile
from tsumugi.corpus.storage.streams import Line, lines
from tsumugi.errors import TsumugiError

LICENCE = "not stated in the index"
DESCRIPTIONS, PACKAGES = "_Translation-ja.gz", "_Packages.gz"
INDEXES = (PACKAGES, DESCRIPTIONS)
LONGEST_LINE = 2**20


def read_descriptions(files: Sequence[RawFile]) -> Iterator[Document]:
    """A document for each description of the indexes Translation-ja among the files; the category is the section.

    Raises:
        TsumugiError: an index is damaged, or not UTF-8.
    """
    sections: dict[str, str] = {}
    for file in files:
        if file.path.endswith(PACKAGES):
            sections |= _sections(file)
    for file in files:
        if file.path.endswith(DESCRIPTIONS):
            yield from _descriptions(file, sections)


def _sections(file: RawFile) -> dict[str, str]:
    """Package -> section. The index is large, and two of its fields are wanted: it is not worth a whole parser."""
    found, package = {}, ""
    for line in lines(file.path, LONGEST_LINE):
        if line.data.startswith(b"Package: "):
            package = _decoded(file, line)[9:]
        elif line.data.startswith(b"Section: "):
            found[package] = _decoded(file, line)[9:]
    return found


def _decoded(file: RawFile, line: Line) -> str:
    try:
        return line.data.decode()
    except UnicodeDecodeError as error:
        raise TsumugiError(f"{file.path}:{line.number}: not UTF-8 at byte {error.start} ({error.reason})") from None


def _descriptions(file: RawFile, sections: dict[str, str]) -> Iterator[Document]:
    without_text = 0
    for number, stanza in enumerate(_stanzas(file)):
        if not stanza:
            continue
        if not {"Package", "Description-ja"} <= stanza.keys():
            raise TsumugiError(
                f"{file.path}: stanza {number + 1} has not the fields Package and Description-ja; delete the file, and "
                "it is fetched anew"
            )
        page = extract_description(stanza["Description-ja"])
        if page is None:
            without_text += 1
            continue
        package = stanza["Package"]
        meta = {"package": package, "description_md5": stanza.get("Description-md5")}
        category = sections.get(package, "unknown")
        yield Document(page.text, page.title, category, f"Translation-ja:{package}", LICENCE, meta)
    print(f"{file.path}: passed over {without_text} descriptions without Japanese text")


def _stanzas(file: RawFile) -> Iterator[Deb822]:
    fields: list[str] = []
    for line in lines(file.path, LONGEST_LINE):
        if line.data:
            fields.append(_decoded(file, line))
        else:
            yield Deb822(fields)
            fields.clear()
    yield Deb822(fields)
