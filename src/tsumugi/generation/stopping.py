"""Where an output ends, beside the end mark: texts and tokens that its reader does not see."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase, StoppingCriteria

from tsumugi.config.experiment import Decoding
from tsumugi.errors import TsumugiError

INCOMPLETE = "\ufffd"  # what bytes that may yet become a character decode to


@dataclass(frozen=True)
class Stop:
    """What ends an output; ``tokens`` hold the end mark too.

    Raises:
        TsumugiError: an id is beyond the vocabulary.
    """

    texts: tuple[str, ...]
    tokens: frozenset[int]

    @classmethod
    def of(cls, decoding: Decoding, tokenizer: PreTrainedTokenizerBase) -> "Stop":
        """What the configuration and the tokenizer say."""
        for key, ids in (("stop", decoding.stop), ("banned_tokens", decoding.banned_tokens)):
            for id_ in ids:
                if isinstance(id_, int) and id_ >= len(tokenizer):
                    raise TsumugiError(
                        f"decoding.{key}: there is no token {id_}; the tokenizer has the ids 0 to {len(tokenizer) - 1}"
                    )
        tokens = {stop for stop in decoding.stop if isinstance(stop, int)}
        return cls(
            tuple(stop for stop in decoding.stop if isinstance(stop, str)),
            frozenset(tokens | {tokenizer.eos_token_id}),
        )

    def written(self, row: Sequence[int]) -> list[int]:
        """The tokens up to the first that ends the output, and it; what follows in the row is padding."""
        end = next((place for place, token in enumerate(row) if token in self.tokens), len(row))
        return list(row[: end + 1])

    def text(self, tokenizer: PreTrainedTokenizerBase, written: Sequence[int]) -> str:
        """The text of the tokens, without what ends it."""
        ids = written[:-1] if written and written[-1] in self.tokens else written
        return self.cut(str(tokenizer.decode(list(ids), skip_special_tokens=True)))

    def cut(self, text: str) -> str:
        """``text`` up to the first of the texts that end it."""
        return text[: min((place for stop in self.texts if (place := text.find(stop)) >= 0), default=len(text))]

    def certain(self, text: str) -> str:
        """The part of ``text`` that stays, whatever follows: no half character, nor the beginning of a stop text."""
        text = text.rstrip(INCOMPLETE)
        longest = max(map(len, self.texts), default=1) - 1
        for length in range(min(longest, len(text)), 0, -1):
            if any(stop.startswith(text[-length:]) for stop in self.texts):
                return text[:-length]
        return text


class AtStopText(StoppingCriteria):
    """Ends a row of a batch once its text holds one of the texts that end it.

    Attributes:
        lengths: tokens of each row until then; None for a row that did not come to it.
    """

    def __init__(self, stop: Stop, tokenizer: PreTrainedTokenizerBase, rows: int, prompt_length: int) -> None:
        self._stop, self._tokenizer, self._prompt_length = stop, tokenizer, prompt_length
        # A token is a byte at least, so a stop text that the last token completes lies within these and the last.
        self._tail = max(len(text.encode()) for text in stop.texts) + 2
        self.lengths: list[int | None] = [None] * rows

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        """(batch,) which rows have ended."""
        width = input_ids.shape[1] - self._prompt_length
        tails = input_ids[:, self._prompt_length :][:, -self._tail :].tolist()
        for row, tail in enumerate(tails):
            if self.lengths[row] is None:
                text = str(self._tokenizer.decode(tail, skip_special_tokens=True))
                if self._stop.cut(text) != text:
                    self.lengths[row] = width
        return torch.tensor([length is not None for length in self.lengths], device=input_ids.device)
