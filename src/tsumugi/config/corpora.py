"""The section ``corpora`` of the configuration: one class for each reader, and what all corpora have."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from tsumugi.corpus.filters import AnyFilter
from tsumugi.corpus.normalization.normalizers import NORMALIZERS
from tsumugi.corpus.normalization.text_cleanup import CLEANINGS
from tsumugi.corpus.sources.addresses import is_url, name_of
from tsumugi.schema.base import NUMBER, Flag, LocalPath, PositiveInt, Section, Seed, Share, name_in, text_like


class Likeness(Section):
    """How much alike two texts are: the share of all their character n-grams that they have in common (Jaccard)."""

    threshold: Annotated[float, Field(ge=0.05, le=1), NUMBER] = 0.8
    ngram: PositiveInt = Field(5, description="characters; white space counts as none")


class Dedup(Section):
    """Which duplicates are dropped: of each cluster the document with the smallest id is kept.

    ``exact``: the same normalized text. ``near``: texts that are alike, found by MinHash and decided exactly.
    """

    exact: Flag = True
    near: Likeness | None = None


class Split(Section):
    """Train, dev and test. ``hashed``: by a hash of the document's id, so that adding documents moves none.

    With ``group_by`` the family's name is hashed. Under shared_text that is its smallest id: a new document with a
    smaller one, or one that joins two families, can move the documents of its family.

    ``thesis``, for the reader livedoor: a fixed order, shuffled with a fixed seed, cut at 90 and 95 %.
    """

    method: Literal["hashed", "thesis"] = "hashed"
    ratios: tuple[PositiveInt, PositiveInt, PositiveInt] = (90, 5, 5)
    seed: Seed = 1234
    group_by: Literal["shared_text", "category", "source"] | None = Field(
        None, description="keep a family of documents on one side: shared_text finds pages that copy paragraphs"
    )

    @model_validator(mode="after")
    def _the_thesis_decides_all(self) -> "Split":
        given = sorted(self.model_fields_set - {"method"})
        if self.method == "thesis" and given:
            raise ValueError(
                f"method: thesis decides {', '.join(given)} itself; leave {'them' if given[1:] else 'it'} out"
            )
        return self


class CorpusBase(Section):
    """What every corpus has, whatever it is read from."""

    num_shards: PositiveInt = Field(1, description="number of Parquet files; fixed, so that the job graph is static")
    bad_records: Share = Field(
        0.0, description="share of the records that may be malformed; they go to rejected.parquet, not to the shards"
    )
    max_document_bytes: PositiveInt = Field(16 * 2**20, description="of the text of one document, as UTF-8")
    oversized: Literal["refuse", "cut"] = Field(
        "refuse", description="what becomes of a larger document: it goes to rejected.parquet, or its beginning is kept"
    )
    cleaning: name_in(CLEANINGS) = Field(
        "plain",
        description="title_brackets takes 【…】 off the ends of titles; thesis is the thesis's, for livedoor news",
    )
    normalize: name_in(NORMALIZERS) = "neologd"
    filters: tuple[AnyFilter, ...] = ()
    dedup: Dedup = Dedup()
    leaks: Likeness = Field(
        Likeness(),
        description="train and dev documents this much like a test document of any task are not trained on",
    )
    split: Split = Split()
    sha256: dict[str, text_like(r"^[0-9a-f]{64}$", "the 64 lower-case hex digits that sha256sum prints")] = Field(
        default={}, description="raw file name -> hash that it must have"
    )

    @model_validator(mode="after")
    def _the_thesis_splits_livedoor(self) -> "CorpusBase":
        if self.split.method == "thesis" and (reader := getattr(self, "reader", None)) != "livedoor":
            raise ValueError(f"split.method: thesis is for the reader livedoor, not for {reader}; use hashed")
        return self


DebianName = text_like(r"^[a-z0-9][a-z0-9+.-]+$", "the name of a Debian package")
NpmPackage = text_like(r"^(@[a-z0-9._-]+/)?[a-z0-9][a-z0-9._-]*@\d[\w.+-]*$", "name@version")
PypiPackage = text_like(r"^[A-Za-z0-9][\w.-]*==\d[\w.+!]*$", "name==version")
DatasetName = text_like(r"^\w[\w.-]*(/\w[\w.-]*)?$", "the name of a dataset on the hub, as in org/dataset")
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


class Columns(Section):
    """Which field of a record holds what. ``title`` and ``category`` may be absent."""

    text: str = "text"
    title: str | None = "title"
    category: str | None = None


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


class LocalFiles(FileCorpus):
    """One's own files: JSON lines, CSV, TSV (whose fields are never quoted), Parquet, or plain text.

    Of plain text a file is a document, its first line the title.
    """

    reader: Literal["local_files"]
    format: Literal["jsonl", "csv", "tsv", "parquet", "text"]
    columns: Columns = Columns()


class HfDataset(CorpusBase):
    """A dataset of Hugging Face: saved here with ``save_to_disk``, or on the hub, of which the Parquet is fetched."""

    reader: Literal["hf_dataset"]
    folder: LocalPath | None = Field(None, description="of a saved dataset; give this or name")
    name: DatasetName | None = Field(None, description="on the hub, as in org/dataset")
    config: str | None = Field(None, description="of the dataset name: its subset; default, or the only one")
    revision: str | None = Field(
        None, description="of the dataset name: branch, tag or commit; the main branch, or the hub's own conversion"
    )
    part: str = Field("train", description="which of the dataset's splits is read; ours are made of it")
    columns: Columns = Columns()
    licence: str = Field("unknown", description="where it says nothing, of the dataset name that of its card")

    @model_validator(mode="after")
    def _it_is_here_or_on_the_hub(self) -> "HfDataset":
        if (self.folder is None) == (self.name is None):
            raise ValueError("give folder (a saved dataset) or name (one on the hub), and not both")
        if self.folder is not None and (self.config is not None or self.revision is not None):
            raise ValueError("config and revision are for a dataset on the hub (name); a folder has none")
        return self


class Livedoor(FileCorpus):
    """The livedoor news corpus, as it is published: ldcc-20140209.tar.gz."""

    reader: Literal["livedoor"]


class Cc100(FileCorpus):
    """CC-100: a paragraph a line, a blank line between documents; .xz or plain."""

    reader: Literal["cc100"]


class Mc4(FileCorpus):
    """mC4: a JSON object a line, with ``text``; .json.gz."""

    reader: Literal["mc4"]


class Oscar(FileCorpus):
    """OSCAR 23.01: a JSON object a line, with ``content`` and quality metadata; .jsonl.zst."""

    reader: Literal["oscar"]


class Instructions(FileCorpus):
    """Instruction sets in Alpaca's form: instruction, input and output, as a JSON list or an object a line.

    Exact duplicates stay unless ``dedup`` asks for it: many instructions have the same short answer.
    """

    reader: Literal["instructions"]
    dedup: Dedup = Dedup(exact=False)


class MediaWiki(FileCorpus):
    """Wikipedia or Wikinews: an XML dump (pages-articles.xml.bz2) or a CirrusSearch dump (content.json.gz)."""

    reader: Literal["wikipedia", "wikinews"]


Corpus = Annotated[
    DebianDocs | LocalFiles | Livedoor | Cc100 | Mc4 | Oscar | Instructions | MediaWiki | HfDataset,
    Field(discriminator="reader"),
]
