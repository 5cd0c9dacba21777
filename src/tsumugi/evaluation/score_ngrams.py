"""The n-gram floor on the test documents: the same bytes that the trained models are scored on."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from transformers import PreTrainedTokenizerBase

from tsumugi.evaluation import bootstrap
from tsumugi.evaluation.ngrams import ORDERS, NgramModel
from tsumugi.generation.evaluation_pairs import Pair
from tsumugi.tokenization.prompts import encode_text

COLUMNS = ("id", "category", "bytes", "tokens", *(f"bits_{order}" for order in ORDERS))


def score_documents(
    model: NgramModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[Pair],
    references: Sequence[str],
    scored_characters: int,
) -> pa.Table:
    """A row a document: id, category, bytes, tokens, and for each order its bits: bits_1, bits_2, bits_3. No prompt."""
    prefixes = [reference[:scored_characters] for reference in references]
    encoded = [encode_text(tokenizer, prefix) for prefix in prefixes]
    scored = [model.log2_probabilities(tokens) for tokens in encoded]
    return pa.table(
        {
            "id": [pair.id for pair in pairs],
            "category": pa.array([pair.category for pair in pairs], pa.string()),
            "bytes": [len(prefix.encode()) for prefix in prefixes],
            "tokens": [len(tokens) for tokens in encoded],
            **{f"bits_{order}": [-float(found[order].sum()) for found in scored] for order in ORDERS},
        }
    ).select(COLUMNS)


def summarize_ngrams(table: pa.Table, samples: int, seed: int) -> dict[str, bootstrap.Interval]:
    """Bits per byte of each order, ``bits_per_byte_1`` to ``_3``: ratio of sums over documents, with its interval."""
    size = table["bytes"].to_numpy().astype(float)
    size[size == 0] = np.nan  # an empty document has no bits per byte
    return {
        f"bits_per_byte_{order}": bootstrap.ratio(table[f"bits_{order}"].to_numpy(), size, samples, seed)
        for order in ORDERS
    }
