"""What every corpus of the configuration has, whatever it is read from: the stages that its documents go through."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from tsumugi.corpus.filters import AnyFilter
from tsumugi.corpus.normalization.normalizers import NORMALIZERS
from tsumugi.corpus.normalization.text_cleanup import CLEANINGS
from tsumugi.schema.base import NUMBER, Flag, OneOf, PositiveInt, Section, Seed, Share, TextLike

Sha256 = Annotated[str, TextLike(r"^[0-9a-f]{64}$", "the 64 lower-case hex digits that sha256sum prints")]


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
    cleaning: Annotated[str, OneOf(CLEANINGS)] = Field(
        "plain",
        description="title_brackets takes 【…】 off the ends of titles; thesis is the thesis's, for livedoor news",
    )
    normalize: Annotated[str, OneOf(NORMALIZERS)] = "neologd"
    filters: tuple[AnyFilter, ...] = ()
    dedup: Dedup = Dedup()
    leaks: Likeness = Field(
        Likeness(),
        description="train and dev documents this much like a test document of any task are not trained on",
    )
    split: Split = Split()
    sha256: dict[str, Sha256] = Field(default={}, description="raw file name -> hash that it must have")

    @model_validator(mode="after")
    def _the_thesis_splits_livedoor(self) -> "CorpusBase":
        if self.split.method == "thesis" and (reader := getattr(self, "reader", None)) != "livedoor":
            raise ValueError(f"split.method: thesis is for the reader livedoor, not for {reader}; use hashed")
        return self
