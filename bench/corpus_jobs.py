"""The jobs of the corpus stage, for corpora that the benchmarks make: in this process, in the workflow's order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tsumugi.corpus.clean_shard import clean_shard
from tsumugi.corpus.fetch_corpus import fetch_corpus
from tsumugi.corpus.find_duplicates import find_duplicates
from tsumugi.corpus.find_leaks import find_leaks
from tsumugi.corpus.normalize_shard import normalize_shard
from tsumugi.corpus.shard_corpus import shard_corpus
from tsumugi.corpus.sign_shard import sign_shard
from tsumugi.corpus.split_corpus import split_corpus
from tsumugi.corpus.storage.corpus_reader import CleanCorpus
from tsumugi.layout import shard_name

NEAR = {"threshold": 0.8, "ngram": 5}
LIGHT_FILTERS = (
    {"name": "length", "min_characters": 100},
    {"name": "japanese", "min_share": 0.3},
    {"name": "symbols", "max_share": 0.3},
    {"name": "urls", "max_share": 0.2},
)
SPEC: Mapping[str, Any] = {
    "reader": "cc100",
    "licence": "CC0-1.0",
    "sha256": {},
    "num_shards": 4,
    "bad_records": 0.0,
    "max_document_bytes": 2**24,
    "oversized": "refuse",
    "cleaning": "plain",
    "normalize": "neologd",
    "filters": LIGHT_FILTERS,
    "dedup": {"exact": True, "near": NEAR},
    "split": {"method": "hashed", "ratios": [98, 1, 1], "seed": 1234, "group_by": None},
    "leaks": NEAR,
}


@dataclass(frozen=True)
class Jobs:
    """The jobs of one corpus below ``root/made``; ``settings`` replace what :data:`SPEC` says."""

    root: Path
    raw: Path
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def spec(self) -> dict[str, Any]:
        """What every job is told."""
        return {**SPEC, "files": [str(self.raw)], **self.settings}

    @property
    def folder(self) -> Path:
        """Where the files of the corpus lie."""
        return self.root / "made"

    @property
    def corpus(self) -> CleanCorpus:
        """What it comes to."""
        return CleanCorpus("made", self.spec["num_shards"], self.root)

    def manifests(self, kind: str) -> list[Path]:
        """Those of all shards in a folder."""
        return [self.folder / kind / f"{shard_name(shard)}.json" for shard in range(self.spec["num_shards"])]

    def fetch(self) -> None:
        """Record the raw file."""
        fetch_corpus(self.spec, self.root / "data/made", self.folder / "raw.json")

    def shard(self) -> None:
        """Read the raw file."""
        outputs = (self.folder / "raw", self.folder / "rejected.parquet", self.folder / "sharded.json")
        shard_corpus(self.spec, self.folder / "raw.json", *outputs)

    def normalize(self) -> None:
        """Normalize and filter every shard."""
        for output in self.manifests("shards"):
            raw = self.folder / f"raw/{output.stem}.parquet"
            normalize_shard(self.spec, self.folder / "sharded.json", raw, output)

    def sign(self) -> None:
        """Sign every shard."""
        for shard, output in zip(self.manifests("shards"), self.manifests("signatures"), strict=True):
            sign_shard(self.spec, shard, output)

    def find_duplicates(self) -> None:
        """Over all shards."""
        signatures = self.manifests("signatures") if self.spec["dedup"]["near"] else []
        find_duplicates(self.spec, self.manifests("shards"), signatures, self.folder / "duplicates.json")

    def clean(self) -> None:
        """Drop the duplicates of every shard."""
        for shard, output in zip(self.manifests("shards"), self.manifests("clean"), strict=True):
            dropped = self.folder / f"dropped/{shard.stem}.parquet"
            clean_shard(self.spec, shard, self.folder / "duplicates.json", output, dropped)

    def split(self) -> None:
        """Decide the splits, and find the leaks among them."""
        split_corpus(self.spec, self.manifests("clean"), self.folder / "split/manifest.json")
        find_leaks(self.spec, self.corpus, [self.corpus], self.folder / "split/leaks.json")


def run(jobs: Jobs, steps: Sequence[str]) -> None:
    """Do ``steps``, methods of :class:`Jobs`, in this order."""
    for step in steps:
        getattr(jobs, step)()
