"""Where a document begins, in the ids that a model was trained on."""

from transformers import PreTrainedTokenizerBase

from tsumugi.tokenization.sentencepiece_tokenizer import SentencePieceTokenizer
from tsumugi.tokenization.special_tokens import BYTES, SPECIAL_TOKENS


def is_made_here(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether it is one of those trained here: it begins with their special tokens and bytes."""
    reserved = (*SPECIAL_TOKENS, *BYTES)
    return tokenizer.is_fast and tuple(tokenizer.convert_ids_to_tokens(list(range(len(reserved))))) == reserved


def start_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """The token in front of a document and of what a decoder reads.

    It is the tokenizer's own beginning token where models from outside are trained with one (LLaMA, rinna's GPT-2).
    Else a document begins behind the end of the one before it: so it is with models made here, and with those whose
    beginning and end are one token (GPT-2, GPT-NeoX, RWKV). [CLS] begins what an encoder reads, and no document.
    """
    bos: int | None = tokenizer.bos_token_id
    eos: int = tokenizer.eos_token_id
    if bos is None or bos in (eos, tokenizer.cls_token_id) or is_made_here(tokenizer):
        return eos
    if isinstance(tokenizer, SentencePieceTokenizer):
        return bos if tokenizer.starts_with_bos else eos
    return bos if tokenizer("")["input_ids"][:1] == [bos] else eos
