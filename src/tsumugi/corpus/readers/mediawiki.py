"""Wikipedia and Wikinews: XML dumps (``pages-articles.xml.bz2``) and CirrusSearch dumps (``…-content.json.gz``)."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from tsumugi.corpus.readers.base import Reader
from tsumugi.corpus.readers.files import FileCorpus, find_files
from tsumugi.corpus.readers.json_lines import json_lines, object_field, text_field
from tsumugi.corpus.storage.document import Document
from tsumugi.corpus.storage.raw_file import RawFile
from tsumugi.corpus.storage.rejected_record import OVERSIZED, Rejected
from tsumugi.corpus.storage.streams import beginning, open_text
from tsumugi.errors import TsumugiError

LICENCES = {"wikipedia": "CC-BY-SA-4.0", "wikinews": "CC-BY-2.5"}
ARTICLES = "0"  # the namespace


class MediaWiki(FileCorpus):
    """Wikipedia or Wikinews: an XML dump (pages-articles.xml.bz2) or a CirrusSearch dump (content.json.gz)."""

    reader: Literal["wikipedia", "wikinews"]


def read_mediawiki(files: Sequence[RawFile], spec: Mapping[str, Any]) -> Iterator[Document | Rejected]:
    """The articles of every dump; redirections and pages of other namespaces are passed over.

    Raises:
        TsumugiError: a dump is damaged or cut off, or of neither form.
    """
    licence = LICENCES[spec["reader"]]
    for file in files:
        start = beginning(file.path)
        if start.startswith(b"<"):
            yield from _xml(file, licence, spec["max_document_bytes"])
        elif start.startswith(b"{"):
            yield from _cirrus(file, licence, spec["max_document_bytes"])
        else:
            raise TsumugiError(
                f"{file.path}: begins with {start!r}, so it is neither an XML dump nor a CirrusSearch dump"
            )


def _xml(file: RawFile, licence: str, max_document_bytes: int) -> Iterator[Document | Rejected]:
    from lxml import etree  # as below: imported by those who read a dump, not with the configuration

    with open_text(file.path) as stream:
        # no entity and no address of the file is followed; of the tree only the page at hand is kept
        options = {"resolve_entities": False, "no_network": True, "load_dtd": False, "huge_tree": True}
        try:
            for _, page in etree.iterparse(stream, events=("end",), tag="{*}page", **options):
                found = {etree.QName(child).localname: child for child in page.iter("{*}*")}
                missing = [name for name in ("title", "ns") if name not in found]
                if not (page.findtext("{*}id") or "").isdigit():  # an id also stands in a revision and a contributor
                    missing.append("id")
                if missing:
                    yield Rejected(f"{file.path}:{page.sourceline}", f"a page without {', '.join(missing)}")
                elif found["ns"].text == ARTICLES and "redirect" not in found:
                    yield _page(file, licence, found, max_document_bytes)
                page.clear()
                while page.getprevious() is not None:
                    del page.getparent()[0]
        except etree.XMLSyntaxError as error:
            raise TsumugiError(f"{file.path}: malformed XML ({error}); fetch it again") from None


def _page(file: RawFile, licence: str, found: Mapping[str, Any], max_document_bytes: int) -> Document | Rejected:
    from tsumugi.corpus.extract.wikitext import extract_wikitext

    title, number = found["title"].text or "", int(found["title"].getparent().findtext("{*}id"))
    markup = found["text"].text or "" if "text" in found else ""
    place = f"{file.path}:page {number}"
    if len(markup) > max_document_bytes:  # before it is parsed, which takes far longer than reading it
        detail = f"{len(markup):,} characters of markup, more than max_document_bytes ({max_document_bytes:,})"
        return Rejected(place, detail, markup[:200], OVERSIZED)
    meta = {"page": number, "timestamp": found["timestamp"].text if "timestamp" in found else None}
    return Document(extract_wikitext(markup), title, "", f"{file.name}:{number}", licence, meta)


def _cirrus(file: RawFile, licence: str, max_document_bytes: int) -> Iterator[Document | Rejected]:
    """Two lines an article: what the index calls it, and its fields."""
    number = None
    for line, record in json_lines(file.path, max_document_bytes):
        place = f"{file.path}:{line}"
        if isinstance(record, Rejected):
            yield record
        elif "index" in record:
            index = object_field(record, "index", place)
            if isinstance(index, Rejected):
                yield index
            else:
                number = index.get("_id")
        elif str(record.get("namespace", ARTICLES)) == ARTICLES:
            text, title = text_field(record, "text", place), text_field(record, "title", place)
            if isinstance(text, Rejected):
                yield text
                continue
            if isinstance(title, Rejected):
                yield title
                continue
            meta = {"page": number, "timestamp": record.get("timestamp"), "categories": record.get("category") or []}
            yield Document(text, title, "", f"{file.name}:{number}", licence, meta)


MEDIAWIKI = Reader(MediaWiki, find_files, read_mediawiki)
