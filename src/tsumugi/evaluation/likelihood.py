"""How many bits a model spends on a text, given a prompt: the measure that even a small model can be told apart by."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tsumugi.errors import TsumugiError
from tsumugi.generation.batches import by_length, padding_id
from tsumugi.generation.progress import Progress
from tsumugi.models.packed_linear import packed
from tsumugi.models.padding import IGNORE_INDEX, attention_mask, pad
from tsumugi.positions import length_error
from tsumugi.tokenization.prompts import model_input


def bits_of_outputs(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    outputs: Sequence[Sequence[int]],
    micro_batch: int,
    label: str = "score_likelihood",
) -> np.ndarray:
    """Bits of ``outputs[i]`` after ``prompts[i]``: minus the sum of log2 probabilities of its tokens, and of no others.

    An end mark is not scored: a prefix of a document has none. Padding stands on the right and is masked, so that the
    result does not depend on the micro-batch, up to floating-point rounding.

    Returns:
        float64 array of shape (len(outputs),); 0 for an output without tokens.

    Raises:
        TsumugiError: a prompt and its output are longer than the model has positions for.
    """
    is_encoder_decoder = model.config.is_encoder_decoder
    inputs = [model_input(list(prompt), tokenizer, is_encoder_decoder) for prompt in prompts]
    bits = np.zeros(len(outputs))
    scored = [i for i, output in enumerate(outputs) if len(output)]
    config = model.config.to_dict()
    for i in scored:  # all of them before the first: it may take hours
        if problem := length_error(config, len(inputs[i]), len(outputs[i])):
            raise TsumugiError(f"{label}: {problem}; lower scored_characters or max_input_tokens of the task")
    score = _encoder_decoder_bits if is_encoder_decoder else _decoder_only_bits
    with packed(model), Progress(len(scored), label) as progress:
        for batch in by_length([len(inputs[i]) + len(outputs[i]) for i in scored], micro_batch):
            rows = [scored[position] for position in batch]
            chosen = [inputs[i] for i in rows], [list(outputs[i]) for i in rows]
            bits[rows] = score(model, *chosen, padding_id(tokenizer))
            progress.advance(len(rows))
    return bits


@torch.inference_mode()
def _decoder_only_bits(
    model: PreTrainedModel, inputs: list[list[int]], outputs: list[list[int]], fill: int
) -> np.ndarray:
    sequences = [[*read, *written] for read, written in zip(inputs, outputs, strict=True)]
    labels = pad(
        [[IGNORE_INDEX] * len(read) + written for read, written in zip(inputs, outputs, strict=True)], IGNORE_INDEX
    ).to(model.device)
    logits = model(
        input_ids=pad(sequences, fill).to(model.device), attention_mask=attention_mask(sequences).to(model.device)
    ).logits
    return _bits(logits[:, :-1], labels[:, 1:])  # the scores at a place are about the token after it


@torch.inference_mode()
def _encoder_decoder_bits(
    model: PreTrainedModel, inputs: list[list[int]], outputs: list[list[int]], fill: int
) -> np.ndarray:
    labels = pad(outputs, IGNORE_INDEX).to(model.device)
    logits = model(  # given labels, the model shifts them to the right for its decoder itself
        input_ids=pad(inputs, fill).to(model.device),
        attention_mask=attention_mask(inputs).to(model.device),
        labels=labels,
    ).logits
    return _bits(logits, labels)


def _bits(logits: torch.Tensor, labels: torch.Tensor) -> np.ndarray:
    """Sum over each row of ``labels`` (batch, places) of minus log2 of the probabilities in ``logits``, in float64."""
    places = labels != IGNORE_INDEX
    # Picking the scored places first keeps the float32 copy of the logits small: prompts and padding are left out.
    losses = torch.nn.functional.cross_entropy(logits[places].float(), labels[places], reduction="none")
    table = torch.zeros(labels.shape, dtype=torch.float64, device=labels.device)
    table[places] = losses.double()
    return table.sum(dim=1).cpu().numpy() / math.log(2)
