"""The job of a shard: clean, normalize, filter."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from tsumugi.corpus.deduplication.hashes import text_hashes
from tsumugi.corpus.filters import build_filters, candidates
from tsumugi.corpus.normalization.normalizers import NORMALIZERS
from tsumugi.corpus.normalization.text_cleanup import CLEANINGS, Step
from tsumugi.corpus.storage.counts import Count, StepCounts, count_column, count_texts
from tsumugi.corpus.storage.parquet import open_writer, read_batches, values_of
from tsumugi.corpus.storage.shard_schema import SHARD_SCHEMA
from tsumugi.errors import TsumugiError
from tsumugi.provenance import Manifest, write_manifest

NORMALIZED_SCHEMA = SHARD_SCHEMA.append(pa.field("text_hash", pa.binary(16)))
DROPPED_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("id", "title", "source", "meta", "reason", "detail", "sample")]
)
SAMPLE_CHARACTERS = 200


def dropped_row(row: Mapping[str, Any], reason: str, detail: str) -> dict[str, str]:
    """What is kept of a dropped document: who it was, why it went, how it began."""
    return {
        "id": row["id"],
        "title": row["title"],
        "source": row["source"],
        "meta": row["meta"],
        "reason": reason,
        "detail": detail,
        "sample": row["text"][:SAMPLE_CHARACTERS],
    }


def normalize_shard(spec: Mapping[str, Any], sharded: Path, shard: Path, output: Path) -> Manifest:
    """Write ``{output stem}.parquet`` and ``{output stem}.dropped.parquet`` beside the manifest ``output``.

    The same text from the same source has the same id; it is kept once (reason ``repeated``): an id is unique. What is
    left without text goes too (``no_text``), and under a cleaning that wants titles what has none (``no_title``).

    Args:
        spec: ``cleaning``, ``normalize`` and ``filters``.
        sharded: the manifest of ``shard_corpus``.
        shard: the raw shard.

    Raises:
        TsumugiError: the shard cannot be read, or the spec names an unknown cleaning, normalizer or filter.
    """
    started = time.time()
    refine = Refinement(spec)
    kept, dropped = output.with_suffix(".parquet"), output.with_suffix(".dropped.parquet")
    seen: set[str] = set()
    with open_writer(kept, NORMALIZED_SCHEMA) as keep, open_writer(dropped, DROPPED_SCHEMA) as drop:
        for batch in read_batches(shard, SHARD_SCHEMA.names):
            rows = {name: values_of(batch.column(name)) for name in ("id", "text", "title", "source", "meta")}
            objections = _repeated(rows["id"], seen)
            refine.counts.add("read", count_column(batch.column("text")))
            refine(rows, objections)
            for row, objection in objections.items():
                drop.write(dropped_row({name: column[row] for name, column in rows.items()}, *objection), size=1024)
            refined = _kept(batch, rows, objections)
            keep.extend(refined, size=refined.nbytes)
    return write_manifest(
        output,
        kind="normalize_shard",
        spec=spec,
        inputs=[sharded],
        outputs=[kept, dropped],
        results=refine.counts.results(),
        started=started,
    )


Objections = dict[int, tuple[str, str]]  # row -> reason and detail


def _kept(batch: pa.RecordBatch, rows: Mapping[str, Sequence[Any]], objections: Objections) -> pa.RecordBatch:
    """The rows of ``batch`` to which nobody objects, with the refined texts and titles, and with the hashes."""
    stay = [row for row in range(batch.num_rows) if row not in objections]
    texts = [rows["text"][row].encode() for row in stay]  # once, for the hash and for Arrow
    refined = {"text": texts, "title": [rows["title"][row] for row in stay], "text_hash": text_hashes(texts)}
    others = batch.select([name for name in batch.schema.names if name not in refined]).take(pa.array(stay, pa.int64()))
    columns = [
        pa.array(refined[field.name], field.type) if field.name in refined else others.column(field.name)
        for field in NORMALIZED_SCHEMA
    ]
    return pa.record_batch(columns, schema=NORMALIZED_SCHEMA)


def _repeated(ids: Sequence[str], seen: set[str]) -> Objections:
    """The rows whose ids were seen before."""
    found = {}
    for row, identifier in enumerate(ids):
        if identifier in seen:
            found[row] = ("repeated", "the same text from the same source")
        seen.add(identifier)
    return found


class Refinement:
    """Cleaning, normalizer and filters of a corpus, and what each has left."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        """See :func:`normalize_shard`."""
        normalizer = _named("normalize", spec["normalize"], NORMALIZERS)
        cleaning = _named("cleaning", spec["cleaning"], CLEANINGS)
        self._steps = (*cleaning.before, Step("normalize", normalizer, normalizer), *cleaning.after)
        self._wants_title = cleaning.wants_title
        self._filters = [each.with_normalized_words(self._steps) for each in build_filters(spec["filters"])]
        self.counts = StepCounts()
        self.counts.declare("read", *(step.name for step in (*self._steps, *self._filters)))

    def __call__(self, rows: dict[str, list[Any]], objections: Objections) -> None:
        """Refine the texts and titles of rows in place, and add why some of them go; those that go already are left."""
        stay = [row for row in range(len(rows["text"])) if row not in objections]
        texts, titles = ([rows[name][row] for row in stay] for name in ("text", "title"))
        for step in self._steps:
            texts, titles = step.texts(texts), step.titles(titles)
            self.counts.add(step.name, count_texts(texts))
        for row, text, title in zip(stay, texts, titles, strict=True):
            rows["text"][row], rows["title"][row] = text, title
        found = self._filter(texts, titles)
        objections |= {stay[place]: objection for place, objection in found.items()}
        self.counts.dropped.update(reason for reason, _ in objections.values())

    def _filter(self, texts: Sequence[str], titles: Sequence[str]) -> Objections:
        """The objections to texts, by their places."""
        found: Objections = {}
        for place, (text, title) in enumerate(zip(texts, titles, strict=True)):
            if not text:
                found[place] = ("no_text", "nothing is left of the text")
            elif self._wants_title and not title:
                found[place] = ("no_title", "nothing is left of the title")
        seen_by_filters = candidates(texts, titles) if self._filters else []
        stay: Sequence[int] = range(len(texts))
        left: Count | None = None
        for each in self._filters:
            stay = [place for place in stay if place not in found]
            found |= {
                place: (each.name, reason)
                for place in stay
                if (reason := each.drop_reason(seen_by_filters[place])) is not None
            }
            if left is None or left.documents != len(texts) - len(found):  # else the same texts as before
                left = count_texts([texts[place] for place in stay if place not in found])
            self.counts.add(each.name, left)
        return found


def _named(key: str, name: str, choices: Mapping[str, Any]) -> Any:
    if name not in choices:
        raise TsumugiError(f"{key}: {name!r} is none of {', '.join(choices)}")
    return choices[name]
