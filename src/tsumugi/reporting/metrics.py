"""The measures of the comparison: their names, how to read them, and the per-document columns that they come from."""

from dataclasses import dataclass, replace
from typing import Literal

Better = Literal["lower", "higher", "near the originals"]


@dataclass(frozen=True)
class Metric:
    """One column of the main table.

    ``form`` says how documents are summed up: ``mean`` of one column; ``ratio`` of the sums of two (such as bits per
    byte); ``gain``: (sum of the first - sum of the second) / sum of the third. ``more`` says in neutral words what a
    run with the larger value does, where a larger value is not simply better or worse.
    """

    key: str
    label: str
    digits: int
    better: Better
    meaning: str
    form: Literal["mean", "ratio", "gain"]
    columns: tuple[str, ...]
    more: str = ""

    @property
    def how_to_read(self) -> str:
        """Which direction is better, or what the mark is."""
        if self.better == "near the originals":
            return "the originals are the mark"
        return f"{self.better} is better"


BITS_PER_BYTE = Metric(
    "bits_per_byte",
    "bits per byte",
    3,
    "lower",
    "Bits that the model spends on the original under its own title, per UTF-8 byte; comparable between tokenizers.",
    "ratio",
    ("bits_own", "bytes"),
)
TITLE_GAIN = Metric(
    "title_gain",
    "title gain",
    4,
    "higher",
    "Bits per byte that the right title saves against the title of another test document, drawn from all of them.",
    "gain",
    ("bits_other", "bits_own", "bytes"),
    "gains more from the right title",
)
TITLE_GAIN_CATEGORY = Metric(
    "title_gain_same_category",
    "title gain, same category",
    4,
    "higher",
    "The same against the title of another document of its category: what the title tells beyond the kind of text.",
    "gain",
    ("bits_same_category", "bits_own", "bytes"),
    "gains more from the right title",
)
METRICS = (
    BITS_PER_BYTE,
    TITLE_GAIN,
    TITLE_GAIN_CATEGORY,
    Metric(
        "chrf",
        "chrF",
        2,
        "higher",
        "Character n-grams shared with the original (0 to 100, sacrebleu).",
        "mean",
        ("chrf",),
    ),
    Metric(
        "rouge_l",
        "ROUGE-L",
        3,
        "higher",
        "Longest common subsequence of characters with the original (F measure, 0 to 1).",
        "mean",
        ("rouge_l",),
    ),
    Metric(
        "title_uptake",
        "title word uptake",
        3,
        "higher",
        "Share of the title's content words that stand in the scored part of the text (0 to 1).",
        "mean",
        ("title_uptake",),
    ),
    Metric(
        "distinct_2",
        "distinct-2",
        3,
        "near the originals",
        "Different character pairs over all character pairs in the scored part of a text (0 to 1). Low means "
        "monotonous, higher than in the originals means words thrown together, or a text that is only shorter.",
        "mean",
        ("distinct_2",),
        "is more varied",
    ),
    Metric(
        "repeated_8grams",
        "repeated 8-grams",
        3,
        "near the originals",
        "Share of 8-character windows that stood in the same text before (0 to 1). People's texts repeat terms as "
        "well; a short text has less room to.",
        "mean",
        ("repeated_8grams",),
        "repeats itself more",
    ),
    Metric(
        "length_ratio",
        "length ratio",
        2,
        "near the originals",
        "Characters of the text over those of the original that fit into the task's output limit; "
        "1: as long as the original.",
        "mean",
        ("length_ratio",),
        "is longer",
    ),
)
ORDERS = (1, 2, 3)


REFERENCE_COLUMNS = {  # the same measured on the original texts: what a good text would reach
    "title_uptake": "title_uptake_reference",
    "distinct_2": "distinct_2_reference",
    "repeated_8grams": "repeated_8grams_reference",
}
REFERENCE_VALUES = {"length_ratio": 1.0}  # what the originals have by definition


def with_columns(metric: Metric, *columns: str) -> Metric:
    """The same measure from other columns."""
    return replace(metric, columns=columns)


def baseline_metric(order: int) -> Metric:
    """Bits per byte of the counted n-gram of ``order``, from the columns of the baselines' table."""
    return with_columns(BITS_PER_BYTE, f"bits_{order}", "bytes")
