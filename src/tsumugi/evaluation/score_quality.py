"""How good generated texts are, against the originals.

Two lengths are at work. What *compares* an output with its reference (chrF, ROUGE-L, words of the title), or depends on
length by its nature (distinct-n), looks at the first ``scored_characters`` of both: those that the likelihood is
measured on, the same for every model, whatever its tokenizer and however much of the original fits into its output
limit. What is about the output as a whole (repetition, length) looks at all of it.
"""

from collections.abc import Iterable
from functools import cache

import numpy as np
import pyarrow as pa
from rouge_score import rouge_scorer
from rouge_score.tokenizers import Tokenizer
from sacrebleu.metrics.chrf import CHRF

from tsumugi.evaluation import bootstrap
from tsumugi.evaluation.content_words import share_taken_up
from tsumugi.generation.records import Record

NAN = float("nan")
METRICS = {
    "chrf": "chrF of sacrebleu (characters 1 to 6, no words, beta 2), 0 to 100, mean over documents",
    "rouge_l": "ROUGE-L F1 of rouge-score on characters without white space, 0 to 1",
    "title_uptake": "share of the title's content words that the output takes up",
    "title_uptake_reference": "the same for the original: what can be reached",
    "distinct_1": "different characters over characters",
    "distinct_2": "different pairs of neighbouring characters over pairs",
    "distinct_1_reference": "the same for the original",
    "distinct_2_reference": "the same for the original",
    "repeated_8grams": "share of 8-character windows that stood in the same output before",
    "repeated_8grams_reference": "the same for the original, as far as the task's output limit reaches",
    "length_ratio": "characters of the output over those of the original that fit into the task's output limit",
    "empty": "share of outputs without any visible character",
}


class Characters(Tokenizer):  # type: ignore[misc]  # rouge-score brings no types
    """rouge-score's own tokenizer knows Latin letters alone; this one takes every character but white space."""

    def tokenize(self, text: str) -> list[str]:
        """The characters of ``text``."""
        return [character for character in text if not character.isspace()]


@cache
def _chrf() -> CHRF:
    return CHRF(char_order=6, word_order=0)


@cache
def _rouge() -> rouge_scorer.RougeScorer:
    return rouge_scorer.RougeScorer(["rougeL"], tokenizer=Characters())


def ngrams(text: str, order: int) -> list[str]:
    """All windows of ``order`` characters."""
    return [text[start : start + order] for start in range(len(text) - order + 1)]


def distinct(text: str, order: int) -> float:
    """Distinct-n (Li et al., 2016, arXiv:1510.03055) on characters; NaN if there is no window."""
    windows = ngrams(text, order)
    return len(set(windows)) / len(windows) if windows else NAN


def repeated(text: str, order: int = 8) -> float:
    """The share of windows of ``order`` characters that are a repetition; NaN if there is no window."""
    return 1 - distinct(text, order)


def measure(record: Record, scored_characters: int) -> dict[str, float]:
    """All of ``METRICS`` for one document; NaN where a metric has no value."""
    output, reference = record["output"].strip(), record["reference"]
    written, wanted = output[:scored_characters], reference[:scored_characters]
    target = reference[: record["target_characters"]]
    return {
        "chrf": _chrf().sentence_score(written, [wanted]).score if written and wanted else 0.0,
        "rouge_l": _rouge().score(wanted, written)["rougeL"].fmeasure,
        "title_uptake": share_taken_up(record["title"], written),
        "title_uptake_reference": share_taken_up(record["title"], wanted),
        "distinct_1": distinct(written, 1),
        "distinct_2": distinct(written, 2),
        "distinct_1_reference": distinct(wanted, 1),
        "distinct_2_reference": distinct(wanted, 2),
        "repeated_8grams": repeated(output),
        "repeated_8grams_reference": repeated(target),
        "length_ratio": len(output) / len(target) if target else NAN,
        "empty": float(not output),
    }


def score_records(records: Iterable[Record], scored_characters: int) -> pa.Table:
    """A row a document: id, category, and a column for each of ``METRICS`` (null where it has no value)."""
    rows, ids, categories = [], [], []
    for record in records:
        ids.append(record["id"])
        categories.append(record["category"])
        rows.append(measure(record, scored_characters))
    columns: dict[str, pa.Array] = {"id": pa.array(ids, pa.string()), "category": pa.array(categories, pa.string())}
    for name in METRICS:
        columns[name] = pa.array(np.array([row[name] for row in rows], dtype=np.float64), from_pandas=True)
    return pa.table(columns)


def summarize_quality(table: pa.Table, samples: int, seed: int) -> dict[str, bootstrap.Interval]:
    """The mean of each metric over the documents that have a value, with its interval."""
    return {name: bootstrap.mean(table[name].to_numpy().astype(float), samples, seed) for name in METRICS}
