"""Readers: each fetches the raw files of a corpus and reads documents out of them. A new one is a file and a line."""

from typing import Annotated

from tsumugi.corpus.readers.base import Fetch, Read, Reader
from tsumugi.corpus.readers.cc100 import CC100
from tsumugi.corpus.readers.debian_docs import DEBIAN_DOCS
from tsumugi.corpus.readers.hf_dataset import HF_DATASET
from tsumugi.corpus.readers.instructions import INSTRUCTIONS
from tsumugi.corpus.readers.livedoor import LIVEDOOR
from tsumugi.corpus.readers.local_files import LOCAL_FILES
from tsumugi.corpus.readers.mediawiki import MEDIAWIKI
from tsumugi.corpus.readers.web_records import MC4, OSCAR
from tsumugi.corpus.sections import CorpusBase
from tsumugi.corpus.storage.raw_file import RawFile
from tsumugi.corpus.storage.rejected_record import Rejected, strict
from tsumugi.schema.base import SectionOf

# In the order in which messages and the JSON schema name them.
_REGISTERED: tuple[Reader, ...] = (
    DEBIAN_DOCS,
    LOCAL_FILES,
    LIVEDOOR,
    CC100,
    MC4,
    OSCAR,
    INSTRUCTIONS,
    MEDIAWIKI,
    HF_DATASET,
)
READERS: dict[str, Reader] = {name: reader for reader in _REGISTERED for name in reader.names}

AnyCorpus = Annotated[CorpusBase, SectionOf(tuple(reader.section for reader in _REGISTERED), "reader")]

__all__ = ["READERS", "AnyCorpus", "Fetch", "RawFile", "Read", "Reader", "Rejected", "strict"]
