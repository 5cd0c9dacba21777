"""How a task's input becomes token ids; the one place where training, generation and scoring agree on it.

A prompt is encoded as one string: the template with the input in it. So whoever encodes the same text by another way,
``write_text.py`` or the ``rwkv`` package, gets the same ids. What the model writes behind it is encoded by itself: at
the end of the prompt the model has read the prompt's ids, and what it writes are further ones.
"""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain

from transformers import PreTrainedTokenizerBase

from tsumugi.errors import TsumugiError
from tsumugi.tokenization.boundaries import start_id
from tsumugi.tokenization.text_ids import encode_texts
from tsumugi.tokenization.world_tokenizer import WorldTokenizer

_LONGEST_PIECE = 32  # characters


def encode_text(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Token ids of ``text`` and nothing else: no special tokens are added, and those that stand in it are text."""
    return encode_texts(tokenizer, [text])[0]


@dataclass
class PromptEncoder:
    """Fills a template at ``{input}`` and encodes it.

    Only the input is cut, in front of the first token that is too much, never the words around it.

    Attributes:
        tokenizer: of the model that reads the prompt.
        template: text with one ``{input}`` in it.
        max_input_tokens: limit of the input by itself, and of what it adds to the template.
    """

    tokenizer: PreTrainedTokenizerBase
    template: str
    max_input_tokens: int
    max_tokens: int = field(init=False)

    def __post_init__(self) -> None:
        self._before, self._after = self.template.split("{input}")
        around = [len(encode_text(self.tokenizer, part)) for part in (self._before, self._after)]
        self.max_tokens = sum(around) + self.max_input_tokens

    def encode(self, text: str) -> list[int]:
        """Ids of the filled template, ``max_tokens`` at most.

        Raises:
            TsumugiError: not even the first character of ``text`` fits into ``max_input_tokens``.
        """
        ends = chain([len(text)], _cuts(self.tokenizer, text, self.max_input_tokens))
        for cut in (text[:end] for end in ends):
            if len(encode_text(self.tokenizer, cut)) > self.max_input_tokens:
                continue
            ids = encode_text(self.tokenizer, f"{self._before}{cut}{self._after}")
            if len(ids) <= self.max_tokens:
                return ids
        raise TsumugiError(
            f"max_input_tokens: {self.max_input_tokens} hold not even the first character of {text[:20]!r}, which has "
            f"{len(encode_text(self.tokenizer, text[:1]))} tokens; raise it"
        )


def _cuts(tokenizer: PreTrainedTokenizerBase, text: str, limit: int) -> Iterator[int]:
    """Where ``text`` may be cut, in characters: behind its first ``limit`` tokens, then in front of that."""
    end = _token_end(tokenizer, text, limit)
    if len(encode_text(tokenizer, text[:end])) > limit:  # tokens that share characters, or whose places are not told
        # A longer beginning has more tokens, but for its last characters, which may yet become one piece with the next.
        about = bisect_right(range(end), limit, key=lambda place: len(encode_text(tokenizer, text[:place])))
        end = min(end, about + _LONGEST_PIECE)
    yield from range(end, 0, -1)


def _token_end(tokenizer: PreTrainedTokenizerBase, text: str, limit: int) -> int:
    """Where the first ``limit`` tokens of ``text`` end; the end of the text, where the tokenizer does not tell."""
    if isinstance(tokenizer, WorldTokenizer):
        return len(tokenizer.decode_bytes(encode_text(tokenizer, text)[:limit]).decode(errors="ignore"))
    if not tokenizer.is_fast:
        return len(text)
    offsets = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    return max((end for _, end in offsets[:limit]), default=0)


def model_input(prompt_ids: list[int], tokenizer: PreTrainedTokenizerBase, is_encoder_decoder: bool) -> list[int]:
    """The ids that a model reads before it writes.

    An encoder reads the prompt and an end mark, as T5 was trained to. A decoder-only model reads what documents begin
    with, and the prompt: its own beginning token if it has one, else the end mark of the document before.
    """
    if is_encoder_decoder:
        return [*prompt_ids, tokenizer.eos_token_id]
    return [start_id(tokenizer), *prompt_ids]
