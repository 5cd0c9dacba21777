"""Training a SentencePiece model (Kudo and Richardson, 2018, arXiv:1808.06226) that loses nothing of a text."""

import io
from collections.abc import Iterable
from typing import Literal

import sentencepiece
from sentencepiece.sentencepiece_model_pb2 import ModelProto  # type: ignore[attr-defined]  # made when it is loaded

from tsumugi.errors import TsumugiError
from tsumugi.tokenization.line_sampling import pieces_of
from tsumugi.tokenization.special_tokens import BOS, EOS, PAD, SPECIAL_TOKENS, UNK

TRAINING_THREADS = 2  # fixed: the sums of the unigram training are rounded differently with another number


def train_sentencepiece(
    lines: Iterable[str],
    *,
    kind: Literal["unigram", "bpe"],
    vocab_size: int,
    character_coverage: float,
    key: str = "tokenizer",
) -> bytes:
    """Train on ``lines`` and return the serialized model, of exactly ``vocab_size`` pieces.

    The text is taken as it is (it was normalized by the corpus stage), characters outside the vocabulary become bytes,
    and the special tokens are control symbols: no text ever turns into one.

    Args:
        lines: sentences without line ends; a line end is always the one byte piece ``<0x0A>``.
        kind: the algorithm.
        vocab_size: special tokens and bytes included.
        character_coverage: share of the characters' occurrences that have a piece of their own.
        key: the key of the configuration that errors name.

    Raises:
        TsumugiError: there are no lines, or ``vocab_size`` does not fit them.
    """
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(pieces_of(lines)),
            model_writer=model,
            model_type=kind,
            vocab_size=vocab_size,
            character_coverage=character_coverage,
            byte_fallback=True,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            add_dummy_prefix=False,
            pad_id=SPECIAL_TOKENS.index(PAD),
            pad_piece=PAD,
            bos_id=SPECIAL_TOKENS.index(BOS),
            bos_piece=BOS,
            eos_id=SPECIAL_TOKENS.index(EOS),
            eos_piece=EOS,
            unk_id=SPECIAL_TOKENS.index(UNK),
            unk_piece=UNK,
            control_symbols=list(SPECIAL_TOKENS[4:]),
            num_threads=TRAINING_THREADS,
            minloglevel=1,
        )
    except RuntimeError as error:
        raise TsumugiError(_explain(str(error), key, vocab_size)) from error
    return _with_exact_scores(model.getvalue())


def _with_exact_scores(model: bytes) -> bytes:
    """Round the pieces' scores (log-probabilities) to multiples of 2**-10.

    Their sums are then exact in float32 and in float64 up to 2**14 nats, some 2,000 tokens. SentencePiece adds in the
    one, the ``tokenizers`` library in the other; equally good segmentations (of "-----", say) would be told apart by
    rounding errors, differently in each.
    """
    proto = ModelProto.FromString(model)
    for piece in proto.pieces:
        piece.score = round(piece.score * 1024) / 1024
    rounded: bytes = proto.SerializeToString(deterministic=True)
    return rounded


def _explain(message: str, key: str, vocab_size: int) -> str:
    reason = message.rsplit("] ", 1)[-1].strip()
    if "sentences_.empty()" in message:
        return f"{key}.corpora: the train splits hold no line of text; loosen the corpora's filters or name others"
    if "required_chars" in message:
        return (
            f"{key}.vocab_size: {vocab_size} is too small for the corpus' characters ({reason}); "
            "raise vocab_size or lower character_coverage"
        )
    if "too high" in message:
        return f"{key}.vocab_size: {vocab_size} is more than the corpus has pieces for ({reason}); lower vocab_size"
    return f"{key}: SentencePiece cannot train on these lines: {reason or message}"
