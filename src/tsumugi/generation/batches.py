"""Batches of sequences of about the same length, so that little of them is padding."""

from collections.abc import Iterator, Sequence

from transformers import PreTrainedTokenizerBase


def by_length(lengths: Sequence[int], size: int) -> Iterator[list[int]]:
    """Yield the indices of ``lengths`` in batches of up to ``size``, longest first.

    The longest go first so that a batch that does not fit into memory fails at once and not after an hour.
    """
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    for start in range(0, len(order), size):
        yield order[start : start + size]


def padding_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """The id that fills up: the tokenizer's own, or its end mark where it has none (GPT-2's). It is always masked."""
    chosen: int = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    return chosen
