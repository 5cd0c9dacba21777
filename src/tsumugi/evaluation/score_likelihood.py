"""Title gain: how many bits per byte a model saves on a text when it is told the text's own title and not another one.

Each document's prefix is scored under its own title, under another test document's, and under one of the same category.
The first difference says that the model uses titles at all; most of it can come from the kind of document that a title
gives away (a manual page, a help page). The second takes that away and leaves what the title says about the subject.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tsumugi.evaluation import bootstrap
from tsumugi.evaluation.derangement import derangement, derangement_within
from tsumugi.evaluation.likelihood import bits_of_outputs
from tsumugi.generation.evaluation_pairs import Pair
from tsumugi.tokenization.prompts import encode_text

COLUMNS = ("id", "category", "bytes", "tokens", "bits_own", "bits_other", "bits_same_category")


def score_titles(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[Pair],
    references: Sequence[str],
    scored_characters: int,
    seed: int,
    micro_batch: int,
) -> tuple[pa.Table, dict[str, int]]:
    """Score the first ``scored_characters`` of every reference under the three titles.

    The prefix is cut in characters, before the tokenizer sees it, so all models are scored on the same bytes. Who lends
    a title to whom depends on ``seed`` and the order of the test set alone, and is the same for every model too.

    Returns:
        A table, a row a document: id, category, bytes, tokens, bits_own, bits_other, bits_same_category (null where the
        category has no second document); and counts: tokens scored, and how many of them are the unknown token, whose
        bits say less than they should.
    """
    prefixes = [reference[:scored_characters] for reference in references]
    outputs = [encode_text(tokenizer, prefix) for prefix in prefixes]
    partners = {
        "own": np.arange(len(pairs)),
        "other": derangement(len(pairs), seed),
        "same_category": derangement_within([pair.category for pair in pairs], seed),
    }
    columns = {
        "id": [pair.id for pair in pairs],
        "category": pa.array([pair.category for pair in pairs], pa.string()),
        "bytes": [len(prefix.encode()) for prefix in prefixes],
        "tokens": [len(output) for output in outputs],
    }
    for condition, lender in partners.items():
        rows = np.flatnonzero(lender >= 0)
        bits = np.full(len(pairs), np.nan)
        prompts = [pairs[lender[row]].prompt for row in rows]
        label = f"score_likelihood, title: {condition}"
        bits[rows] = bits_of_outputs(model, tokenizer, prompts, [outputs[row] for row in rows], micro_batch, label)
        columns[f"bits_{condition}"] = pa.array(bits, from_pandas=True)  # NaN becomes null
    unknown = sum(output.count(tokenizer.unk_token_id) for output in outputs)
    return pa.table(columns).select(COLUMNS), {"tokens": sum(map(len, outputs)), "unknown_tokens": unknown}


def summarize_titles(table: pa.Table, samples: int, seed: int) -> dict[str, bootstrap.Interval]:
    """Bits per byte (ratio of sums over documents) and the two gains, each with its interval; the gains are paired."""
    own, other, same = (
        table[f"bits_{condition}"].to_numpy().astype(float) for condition in ("own", "other", "same_category")
    )
    size = table["bytes"].to_numpy().astype(float)
    size[size == 0] = np.nan  # an empty document has no bits per byte
    return {
        "bits_per_byte_own": bootstrap.ratio(own, size, samples, seed),
        "bits_per_byte_other": bootstrap.ratio(other, size, samples, seed),
        "bits_per_byte_same_category": bootstrap.ratio(same, size, samples, seed),
        "title_gain": bootstrap.ratio(other - own, size, samples, seed),
        "title_gain_same_category": bootstrap.ratio(same - own, size, samples, seed),
    }
