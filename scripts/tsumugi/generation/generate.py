"""Writing an output for every test document."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from tsumugi.generation.batches import by_length, mask, pad, padding_id
from tsumugi.generation.progress import Progress
from tsumugi.generation.sampling import processors
from tsumugi.generation.test_pairs import Pair
from tsumugi.tokenization.prompts import model_input


@dataclass(frozen=True)
class Generated:
    """What was written for a document. ``tokens`` counts the end mark; ``seconds``: the batch's time over its size."""

    text: str
    tokens: int
    seconds: float


def generate_texts(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[Pair],
    decoding: dict[str, Any],
    max_output_tokens: int,
    micro_batch: int,
) -> list[Generated]:
    """Write one text for each pair, stopping at the end mark or after ``max_output_tokens``, in the order of ``pairs``.

    The texts are a function of the model, the prompts and the decoding. Sampling draws from numbers that belong to
    (``decoding["seed"]``, the document's id), so neither the micro-batch nor the order matters, beyond this: a batch
    of another size may round the last bit of a score differently, and two scores that are equal to that bit may swap.
    """
    is_encoder_decoder = model.config.is_encoder_decoder
    # Nothing that a downloaded model brought along (beams, length limits, penalties) may decide beside the task.
    model.generation_config = _plain(model, tokenizer, max_output_tokens)
    inputs = [model_input(pair.prompt, tokenizer.eos_token_id, is_encoder_decoder) for pair in pairs]
    written: list[Generated | None] = [None] * len(pairs)
    with Progress(len(pairs), "generate_text") as progress:
        for batch in by_length([len(ids) for ids in inputs], micro_batch):
            started = time.perf_counter()
            rows = _generate_batch(
                model, tokenizer, [inputs[i] for i in batch], [pairs[i].id for i in batch], decoding, max_output_tokens
            )
            seconds = (time.perf_counter() - started) / len(batch)
            for i, row in zip(batch, rows, strict=True):
                written[i] = Generated(tokenizer.decode(row, skip_special_tokens=True), len(row), seconds)
            progress.advance(len(batch))
    return written  # type: ignore[return-value]


@torch.inference_mode()
def _generate_batch(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    inputs: list[list[int]],
    ids: list[str],
    decoding: dict[str, Any],
    max_output_tokens: int,
) -> list[list[int]]:
    is_encoder_decoder, fill = model.config.is_encoder_decoder, padding_id(tokenizer)
    left = not is_encoder_decoder  # a decoder-only model goes on from the last place of each row
    input_ids = pad(inputs, fill, left).to(model.device)
    start = 1 if is_encoder_decoder else input_ids.shape[1]
    # A padding token that is written would be a hole in the text; as the end mark's stand-in it must stay possible.
    suppressed = [fill] if fill != tokenizer.eos_token_id else []
    sequences = model.generate(
        input_ids=input_ids,
        attention_mask=mask(inputs, left).to(model.device),
        generation_config=model.generation_config,
        logits_processor=processors(decoding, ids, max_output_tokens, start, suppressed, str(model.device)),
    )
    return [
        _until_end(row, tokenizer.eos_token_id) for row in sequences[:, start:].tolist()
    ]  # .tolist() waits for a GPU


def _plain(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, max_output_tokens: int) -> GenerationConfig:
    return GenerationConfig(
        max_new_tokens=max_output_tokens,
        do_sample=False,  # sampling is the last processor's work
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=padding_id(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        decoder_start_token_id=getattr(model.config, "decoder_start_token_id", None),
    )


def _until_end(row: list[int], eos: int) -> list[int]:
    """The tokens up to the first end mark, and it; what follows in the row is padding."""
    return row[: row.index(eos) + 1] if eos in row else row
