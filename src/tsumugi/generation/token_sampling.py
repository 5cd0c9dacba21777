"""Drawing tokens so that a document's text depends on its own seed alone, not on the batch that it happens to be in."""

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    SuppressTokensLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from tsumugi.config.experiment import Decoding
from tsumugi.generation.penalties import CountPenalty


class DrawFromUniform(LogitsProcessor):
    """Choose each row's token by inverting its distribution at a number drawn beforehand; leave no other possible.

    ``generate``'s own sampling takes one stream of random numbers for the whole batch, so what a document gets depends
    on its neighbours. Here row i at step t uses ``uniforms[i, t]`` and nothing else.
    """

    def __init__(self, uniforms: torch.Tensor, prompt_length: int) -> None:
        self._uniforms, self._prompt_length = uniforms, prompt_length

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores of shape (batch, vocabulary), with all but one in each row at minus infinity."""
        step = input_ids.shape[1] - self._prompt_length
        cumulative = scores.double().softmax(dim=-1).cumsum(dim=-1)
        # scaled by the last entry, which rounding keeps from being exactly 1; so that no number points past the end
        targets = self._uniforms[:, step, None] * cumulative[:, -1:]
        tokens = torch.searchsorted(cumulative, targets, right=True).clamp(max=scores.shape[-1] - 1)
        return torch.full_like(scores, -torch.inf).scatter(1, tokens, 0.0)


def uniforms_for(ids: Sequence[str], seed: int, steps: int) -> torch.Tensor:
    """float64 tensor of shape (len(ids), steps) in [0, 1): row i is a function of ``seed`` and ``ids[i]`` alone."""
    rows = []
    for identifier in ids:
        key = hashlib.sha256(f"{seed}\n{identifier}".encode()).digest()
        rows.append(np.random.default_rng(int.from_bytes(key[:16], "big")).random(steps))
    return torch.from_numpy(np.stack(rows))


def processors(
    decoding: Decoding,
    ids: Sequence[str],
    steps: int,
    prompt_length: int,
    suppressed: Sequence[int],
    uncounted: Sequence[int],
    device: str,
) -> LogitsProcessorList:
    """What is done to the scores before the likeliest token is taken.

    The penalties look at what was written and not at the prompt: a decoder-only model would otherwise be kept from
    using the words of its title, and an encoder-decoder, whose prompt is elsewhere, would not.

    Args:
        decoding: how to write.
        ids: the documents of the batch.
        steps: the most tokens that are written.
        prompt_length: width of what the decoder is given at the start, padding included.
        suppressed: tokens that are never written.
        uncounted: tokens whose number the frequency penalty takes for 0, see :func:`penalties.uncounted_tokens`.
        device: where the model is.
    """
    chain = LogitsProcessorList()
    if suppressed:
        chain.append(SuppressTokensLogitsProcessor(list(suppressed), device=device))
    if decoding.repetition_penalty != 1.0:
        chain.append(RepetitionPenaltyLogitsProcessor(decoding.repetition_penalty, prompt_ignore_length=prompt_length))
    if decoding.presence_penalty or decoding.frequency_penalty:
        chain.append(CountPenalty(decoding, prompt_length, uncounted, device))
    if decoding.do_sample:
        chain += _narrowing(decoding)
        chain.append(DrawFromUniform(uniforms_for(ids, decoding.seed, steps).to(device), prompt_length))
    return chain


def _narrowing(decoding: Decoding) -> list[LogitsProcessor]:
    """Temperature and what it leaves possible; in Transformers' order, or in that of ``PIPELINE.sample_logits``."""
    temperature = [] if decoding.temperature == 1.0 else [TemperatureLogitsWarper(decoding.temperature)]
    top_k = [TopKLogitsWarper(decoding.top_k)] if decoding.top_k else []
    top_p = [TopPLogitsWarper(decoding.top_p)] if decoding.top_p < 1.0 else []
    return [*top_p, *top_k, *temperature] if decoding.temperature_last else [*temperature, *top_k, *top_p]
