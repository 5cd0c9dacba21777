"""RWKV's penalties on tokens that were written before."""

from collections.abc import Sequence

import torch
from transformers import LogitsProcessor, PreTrainedTokenizerBase

from tsumugi.config.experiment import Decoding
from tsumugi.tokenization.text_ids import encode_texts

_UNCOUNTED = " \t0123456789"


class CountPenalty(LogitsProcessor):
    """Lower the scores of written tokens, by their presence and by how often and how recently they were written.

    With n steps since, an occurrence weighs ``penalty_decay ** n``; it was added without loss at the step before this
    one, so n begins at 0. A token's score falls by ``presence_penalty`` plus ``frequency_penalty`` times the sum of its
    weights. Source: ``PIPELINE.generate`` in ``utils.py`` of the ``rwkv`` package.

    Args:
        decoding: the penalties.
        prompt_length: width of what the decoder is given at the start, which is not counted.
        uncounted: tokens whose occurrences weigh nothing; their presence does.
        device: where the model is.
    """

    def __init__(self, decoding: Decoding, prompt_length: int, uncounted: Sequence[int], device: str) -> None:
        self._presence, self._frequency = decoding.presence_penalty, decoding.frequency_penalty
        self._decay, self._prompt_length = decoding.penalty_decay, prompt_length
        self._uncounted = torch.tensor(sorted(uncounted), dtype=torch.int64, device=device)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores of shape (batch, vocabulary)."""
        written = input_ids[:, self._prompt_length :]
        if not written.shape[1]:
            return scores
        age = torch.arange(written.shape[1] - 1, -1, -1, device=written.device)
        weights = torch.pow(torch.tensor(self._decay, dtype=torch.float64, device=written.device), age)
        weights = torch.where(torch.isin(written, self._uncounted), 0.0, weights)
        counts = torch.zeros_like(scores).scatter_add_(1, written, weights.to(scores.dtype))
        present = torch.zeros_like(scores).scatter_(1, written, self._presence)
        return scores - present - self._frequency * counts


def uncounted_tokens(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tokens that the frequency penalty spares: texts need blanks and digits often.

    They are those whose text is a part of one fixed string, which is how the ``rwkv`` package recognises them.
    """
    parts = {_UNCOUNTED[start:stop] for stop in range(1, len(_UNCOUNTED) + 1) for start in range(stop)}
    encoded = encode_texts(tokenizer, sorted(parts))
    return sorted({ids[0] for ids in encoded if len(ids) == 1 and ids[0] != tokenizer.unk_token_id})
