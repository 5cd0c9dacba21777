"""How a task's input becomes token ids; the one place where training, generation and scoring agree on it."""

from transformers import PreTrainedTokenizerBase


def encode_text(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Token ids of ``text`` and nothing else: no special tokens are added."""
    return tokenizer.encode(text, add_special_tokens=False)


def encode_prompt(tokenizer: PreTrainedTokenizerBase, template: str, text: str, max_input_tokens: int) -> list[int]:
    """Fill ``template`` at ``{input}``. Only the input is cut to its limit, never the words around it."""
    before, after = template.split("{input}")
    return [
        *encode_text(tokenizer, before),
        *encode_text(tokenizer, text)[:max_input_tokens],
        *encode_text(tokenizer, after),
    ]


def model_input(prompt_ids: list[int], eos_token_id: int, is_encoder_decoder: bool) -> list[int]:
    """The ids that a model reads before it writes.

    An encoder reads the prompt and an end mark, as T5 was trained to. A decoder-only model has learnt that a document
    begins after the end mark of the one before it, so the mark stands in front.
    """
    return [*prompt_ids, eos_token_id] if is_encoder_decoder else [eos_token_id, *prompt_ids]
