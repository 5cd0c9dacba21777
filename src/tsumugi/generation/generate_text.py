"""Writing an output for every test document."""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import (
    GenerationConfig,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StoppingCriteriaList,
)

from tsumugi.config.experiment import Decoding
from tsumugi.errors import TsumugiError
from tsumugi.generation.batches import by_length, padding_id
from tsumugi.generation.evaluation_pairs import Pair
from tsumugi.generation.penalties import uncounted_tokens
from tsumugi.generation.progress import Progress
from tsumugi.generation.stopping import AtStopText, Stop
from tsumugi.generation.token_sampling import processors
from tsumugi.models.packed_linear import packed
from tsumugi.models.padding import attention_mask, pad
from tsumugi.positions import length_error, length_warning
from tsumugi.tokenization.prompts import model_input


@dataclass(frozen=True)
class Generated:
    """What was written for a document. ``tokens`` counts the end mark; ``seconds``: the batch's time over its size."""

    text: str
    tokens: int
    seconds: float


@dataclass
class Writer:
    """A model, and how it is to write.

    Raises:
        TsumugiError: the model writes no text, or the decoding names a token that the tokenizer does not have.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    decoding: Decoding
    max_output_tokens: int
    stop: Stop = field(init=False)

    def __post_init__(self) -> None:
        if not self.model.can_generate():
            raise TsumugiError(
                f"a {self.model.config.model_type} is an encoder, which fills in masked tokens and writes no text; "
                "take a model that writes (T5, GPT, LLaMA, RWKV)"
            )
        self.stop = Stop.of(self.decoding, self.tokenizer)
        self._warned = False
        fill, eos = padding_id(self.tokenizer), self.tokenizer.eos_token_id
        # A padding token that is written would be a hole in the text; as the end mark's stand-in it must stay possible.
        self._suppressed = sorted({*self.decoding.banned_tokens, *([fill] if fill != eos else [])})
        self._uncounted = uncounted_tokens(self.tokenizer) if self.decoding.frequency_penalty else []
        # Nothing that a downloaded model brought along (beams, length limits, penalties) may decide beside the task.
        self.model.generation_config = self._plain()

    def inputs(self, prompt: list[int]) -> list[int]:
        """The ids that the model reads before it writes."""
        return model_input(prompt, self.tokenizer, self.model.config.is_encoder_decoder)

    def start(self, inputs: Sequence[Sequence[int]]) -> int:
        """Width of what the decoder is given at the start."""
        return 1 if self.model.config.is_encoder_decoder else max(map(len, inputs))

    def arguments(self, inputs: Sequence[Sequence[int]], ids: Sequence[str]) -> dict[str, Any]:
        """What ``generate`` is called with for a batch: the ids that are read, and the names of the documents.

        Raises:
            TsumugiError: these and what is written are more than the model has positions for.
        """
        self._check_lengths(max(map(len, inputs)))
        left = not self.model.config.is_encoder_decoder  # a decoder-only model goes on from each row's last place
        device = self.model.device
        return {
            "input_ids": pad(inputs, padding_id(self.tokenizer), left).to(device),
            "attention_mask": attention_mask(inputs, left).to(device),
            "generation_config": self.model.generation_config,
            "logits_processor": self._processors(ids, self.start(inputs)),
        }

    def _check_lengths(self, read: int) -> None:
        config = self.model.config.to_dict()
        if problem := length_error(config, read, self.max_output_tokens, unread=1):
            raise TsumugiError(
                f"{problem}; shorten the prompt, or let fewer tokens be written (max_output_tokens, --max-tokens)"
            )
        warning = length_warning(config, read, self.max_output_tokens)
        if warning and not self._warned:  # the longest come first
            print(warning, file=sys.stderr)
            self._warned = True

    def _processors(self, ids: Sequence[str], start: int) -> LogitsProcessorList:
        return processors(
            self.decoding,
            ids,
            self.max_output_tokens,
            start,
            self._suppressed,
            self._uncounted,
            str(self.model.device),
        )

    def _plain(self) -> GenerationConfig:
        return GenerationConfig(
            max_new_tokens=self.max_output_tokens,
            do_sample=False,  # sampling is the last processor's work
            eos_token_id=sorted(self.stop.tokens),
            pad_token_id=padding_id(self.tokenizer),
            bos_token_id=self.tokenizer.bos_token_id,
            decoder_start_token_id=getattr(self.model.config, "decoder_start_token_id", None),
        )


def generate_texts(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[Pair],
    decoding: Decoding | Mapping[str, Any],
    max_output_tokens: int,
    micro_batch: int,
) -> list[Generated]:
    """Write one text for each pair, stopping at the end mark or after ``max_output_tokens``, in the order of ``pairs``.

    The texts are a function of the model, the prompts and the decoding. Sampling draws from numbers that belong to
    (the decoding's seed, the document's id), so neither the micro-batch nor the order matters, beyond this: a batch
    of another size may round the last bit of a score differently, and two scores that are equal to that bit may swap.

    Raises:
        TsumugiError: the decoding names a token that the tokenizer does not have, or a prompt is too long.
    """
    writer = Writer(model, tokenizer, Decoding.model_validate(decoding), max_output_tokens)
    inputs = [writer.inputs(pair.prompt) for pair in pairs]
    written: list[Generated | None] = [None] * len(pairs)
    with packed(model), Progress(len(pairs), "generate_text") as progress:
        for batch in by_length([len(ids) for ids in inputs], micro_batch):
            started = time.perf_counter()
            rows = _generate_batch(writer, [inputs[i] for i in batch], [pairs[i].id for i in batch])
            seconds = (time.perf_counter() - started) / len(batch)
            for i, row in zip(batch, rows, strict=True):
                written[i] = Generated(writer.stop.text(tokenizer, row), len(row), seconds)
            progress.advance(len(batch))
    return written  # type: ignore[return-value]


@torch.inference_mode()
def _generate_batch(writer: Writer, inputs: list[list[int]], ids: list[str]) -> list[list[int]]:
    start, criteria = writer.start(inputs), StoppingCriteriaList()
    if writer.stop.texts:
        criteria.append(AtStopText(writer.stop, writer.tokenizer, len(inputs), start))
    generate: Any = writer.model.generate  # which torch's types take for a tensor
    sequences = generate(**writer.arguments(inputs, ids), stopping_criteria=criteria)
    rows = sequences[:, start:].tolist()  # waits for a GPU
    lengths = criteria[0].lengths if criteria else [None] * len(rows)
    return [writer.stop.written(row[:length]) for row, length in zip(rows, lengths, strict=True)]
