"""One text, piece by piece, while it is written."""

from collections.abc import Iterator, Mapping
from queue import SimpleQueue
from threading import Event, Thread
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase, StoppingCriteria, StoppingCriteriaList
from transformers.generation.streamers import BaseStreamer

from tsumugi.config.experiment import Decoding
from tsumugi.generation.generate_text import Writer
from tsumugi.models.packed_linear import packed

_Message = int | BaseException | None  # a token, why the model failed, or that it is done


class _Tokens(BaseStreamer):
    """Hands each written token on."""

    def __init__(self, queue: "SimpleQueue[_Message]") -> None:
        self._queue = queue
        self._started = False

    def put(self, value: torch.Tensor) -> None:
        """One token; the first call brings what the model is given at the start."""
        if self._started:
            self._queue.put(int(value))
        self._started = True

    def end(self) -> None:
        """Nothing: the thread says when it is done, also where it failed."""


class _WhenAsked(StoppingCriteria):
    """Ends the writing when nobody reads on."""

    def __init__(self, asked: Event) -> None:
        self._asked = asked

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        return torch.full((input_ids.shape[0],), self._asked.is_set(), device=input_ids.device)


def stream_text(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompt: list[int],
    decoding: Decoding | Mapping[str, Any],
    max_output_tokens: int,
    identifier: str = "",
) -> Iterator[str]:
    """Write the text that ``generate_texts`` writes for a pair of this prompt and id; hand on each part once certain.

    Held back are bytes that may yet become a character, and the beginning of a text that would end the output. The
    model writes in a thread of its own; it stops within a token when the iterator is closed.

    Raises:
        TsumugiError: the decoding names a token that the tokenizer does not have, or the prompt is too long.
    """
    return _stream(Writer(model, tokenizer, Decoding.model_validate(decoding), max_output_tokens), prompt, identifier)


def _stream(writer: Writer, prompt: list[int], identifier: str) -> Iterator[str]:
    queue: SimpleQueue[_Message] = SimpleQueue()
    closed = Event()

    def work() -> None:
        try:
            generate: Any = writer.model.generate  # which torch's types take for a tensor
            with torch.inference_mode(), packed(writer.model, writer.max_output_tokens):
                generate(
                    **writer.arguments([writer.inputs(prompt)], [identifier]),
                    streamer=_Tokens(queue),
                    stopping_criteria=StoppingCriteriaList([_WhenAsked(closed)]),
                )
            queue.put(None)
        except BaseException as error:
            queue.put(error)

    thread = Thread(target=work, daemon=True)  # Ctrl-C need not wait for a token
    thread.start()
    try:
        yield from _pieces(writer, queue)
    finally:
        closed.set()
        thread.join()


def _pieces(writer: Writer, queue: "SimpleQueue[_Message]") -> Iterator[str]:
    written: list[int] = []
    shown = 0
    while isinstance(message := queue.get(), int):
        written.append(message)
        whole = str(writer.tokenizer.decode(written, skip_special_tokens=True))
        if writer.stop.cut(whole) != whole or message in writer.stop.tokens:
            break
        certain = writer.stop.certain(whole)
        if len(certain) > shown:
            yield certain[shown:]
            shown = len(certain)
    if isinstance(message, BaseException):
        raise message
    if rest := writer.stop.text(writer.tokenizer, written)[shown:]:
        yield rest
