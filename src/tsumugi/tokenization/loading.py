"""Opens a tokenizer: one made here, a directory, or a hub name."""

from pathlib import Path

from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer, PreTrainedTokenizerBase
from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES, tokenizer_class_from_name

from tsumugi.errors import TsumugiError, first_line
from tsumugi.notices import say_once
from tsumugi.outside_model import TOKENIZER_FILES, WITHOUT_VOCABULARY, local_folder, refuse_pointer
from tsumugi.schema.json_object import read_json_object
from tsumugi.tokenization.repair import LINES, TOKENIZER_JSON, as_published
from tsumugi.tokenization.sentencepiece_tokenizer import (
    DEFAULTS,
    SentencePieceTokenizer,
    open_sentencepiece,
    pieces_by_sentencepiece,
)
from tsumugi.tokenization.text_ids import encode_texts
from tsumugi.tokenization.world_tokenizer import VOCABULARY_FILE, WorldTokenizer

_CONFIG = "tokenizer_config.json"
_GENERIC = (None, "PreTrainedTokenizer", "PythonBackend", "TokenizersBackend", "PreTrainedTokenizerFast")
_LIKE_LLAMA = ("CodeLlamaTokenizer",)  # Transformers' conversion loses a space in front of an indented text
_OF_MODEL = {"spiece.model": "T5Tokenizer", "tokenizer.model": "LlamaTokenizer", "spm.model": "DebertaV2Tokenizer"}
_OF_MODEL |= {"sentencepiece.bpe.model": "XLMRobertaTokenizer"}
_SHOWN = 4  # pieces of either side
_FEW = 0.9  # of the model's ids: padded ones, which no token has, are fewer; chosen, not measured


def load_tokenizer(source: str, folder: Path | None = None) -> PreTrainedTokenizerBase:
    """Open ``source``, a directory or ``hub:org/name``, and hold it against its files and the model beside it.

    Where the files name no end token, the separator is it (BERT). Where they name no padding token, the unknown token
    pads, or the end token; what pads is masked, and no label is told by it.

    Args:
        folder: where the files of ``source`` lie, if that was found before.

    Raises:
        TsumugiError: nothing opens there, the vocabulary is missing or does not fit the model, the files contradict
            one another, or there is no end token.
    """
    folder = folder or local_folder(source, TOKENIZER_FILES, "tokenizer")
    rows = read_json_object(folder / "config.json").get("vocab_size")
    try:
        tokenizer = _open(folder, rows if isinstance(rows, int) else None)
        _name_end_and_padding(tokenizer, source)
        _fit_model(tokenizer, rows, source)
        _compare_with_sentencepiece(tokenizer, folder, source)
    except TsumugiError as error:
        raise TsumugiError(f"tokenizer {source}: {error}") from None
    except Exception as error:  # of many kinds: each class has its own way with a file that it cannot read
        raise TsumugiError(f"tokenizer {source}: cannot be opened ({first_line(error)})") from error
    return tokenizer


def tokenizer_manifests(source: str) -> list[Path]:
    """The manifest of a tokenizer that was made here; nothing for one that came from outside."""
    manifest = Path(source) / "manifest.json"
    return [manifest] if manifest.exists() else []


def _open(folder: Path, rows: int | None) -> PreTrainedTokenizerBase:
    class_name = _class_name(folder)
    if class_name in DEFAULTS and (published := open_sentencepiece(folder, class_name, rows)):
        return published
    if tokenizer_class_from_name(class_name or "") is None and (folder / VOCABULARY_FILE).is_file():
        return WorldTokenizer(folder / VOCABULARY_FILE)  # as published for RWKV, by a class that comes with the files
    _check_vocabulary(folder, class_name)
    by_transformers = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    tokenizer = as_published(by_transformers, folder)
    if class_name == "LlamaTokenizer" and tokenizer.is_fast:
        _begin_as_said(tokenizer, read_json_object(folder / _CONFIG).get("add_bos_token"))
    return tokenizer


def _begin_as_said(tokenizer: PreTrainedTokenizerBase, with_bos: bool | None) -> None:
    """The configuration's word on the beginning token goes before that of tokenizer.json; Transformers 5 ignores it."""
    bos = tokenizer.bos_token
    if with_bos is None or bos is None or (tokenizer("")["input_ids"][:1] == [tokenizer.bos_token_id]) == with_bos:
        return
    template = f"{bos} $A" if with_bos else "$A"
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=template, pair=f"{template} $B", special_tokens=[(bos, tokenizer.bos_token_id)]
    )


def _class_name(folder: Path) -> str | None:
    """Of Transformers' class: from the tokenizer's configuration, else the model's, else that of the kind of model.

    Where that reads none of the files that are there, and none that are not, the SentencePiece model decides.
    """
    model = read_json_object(folder / "config.json")
    named = read_json_object(folder / _CONFIG).get("tokenizer_class") or model.get("tokenizer_class")
    found = (named or TOKENIZER_MAPPING_NAMES.get(model.get("model_type", "")) or "").removesuffix("Fast") or None
    wanted = _vocabulary_files(folder, found)
    of_model = next((name for file, name in _OF_MODEL.items() if (folder / file).is_file()), None)
    if (folder / TOKENIZER_JSON).is_file() or of_model is None or found in DEFAULTS:
        return found
    has_own = bool(wanted) and (named is not None or all((folder / name).is_file() for name in wanted))
    return found if has_own and found not in (*_GENERIC, *_LIKE_LLAMA) else of_model


def _vocabulary_files(folder: Path, class_name: str | None) -> list[str]:
    """What a class reads where there is no tokenizer.json; nothing for an unknown class, and for one of bytes."""
    wanted = dict(getattr(tokenizer_class_from_name(class_name or ""), "vocab_files_names", {}))
    wanted.pop("tokenizer_file", None)
    if "spm_file" in wanted:  # BertJapaneseTokenizer: one of the two
        by_sentencepiece = read_json_object(folder / _CONFIG).get("subword_tokenizer_type") == "sentencepiece"
        wanted.pop("vocab_file" if by_sentencepiece else "spm_file")
    return list(wanted.values())


def _check_vocabulary(folder: Path, class_name: str | None) -> None:
    """Without its vocabulary Transformers makes an empty tokenizer, to which every text is unknown.

    Raises:
        TsumugiError: the class's files are not there.
    """
    if (folder / TOKENIZER_JSON).is_file():
        refuse_pointer(folder / TOKENIZER_JSON)
        read_json_object(folder / TOKENIZER_JSON)  # names the file where it is damaged
        return
    wanted = _vocabulary_files(folder, class_name)
    if not wanted and class_name in WITHOUT_VOCABULARY:
        return
    if not wanted or not all((folder / name).is_file() for name in wanted):
        reads = " or ".join(filter(None, [TOKENIZER_JSON, ", ".join(wanted)]))
        found = ", ".join(sorted(path.name for path in folder.iterdir())) or "no files"
        raise TsumugiError(
            f"cannot be opened: its vocabulary is missing. {class_name or 'Transformers'} reads {reads}; found: "
            f"{found}. Copy the tokenizer's files there, or correct tokenizer_class in {_CONFIG}"
        )
    for name in wanted:
        refuse_pointer(folder / name)


def _name_end_and_padding(tokenizer: PreTrainedTokenizerBase, source: str) -> None:
    if tokenizer.eos_token_id is None:
        if tokenizer.sep_token_id is None:
            raise TsumugiError("has no end token (eos_token), which ends every document; set one")
        tokenizer.eos_token = tokenizer.sep_token
        say_once(f"{source}: the tokenizer has no end token; {tokenizer.sep_token} ends documents")
    if tokenizer.pad_token_id is None:
        spare = tokenizer.unk_token_id not in (None, tokenizer.eos_token_id, tokenizer.bos_token_id)
        tokenizer.pad_token = tokenizer.unk_token if spare else tokenizer.eos_token
        say_once(
            f"{source}: the tokenizer has no padding token; {tokenizer.pad_token} pads, masked and never trained on"
        )
    if tokenizer.eos_token_id in set().union(*encode_texts(tokenizer, [*LINES, "\U000e0fff\u0378"])):
        raise TsumugiError(
            f"a character that is not in its vocabulary becomes the end token {tokenizer.eos_token}, so every text "
            "with one would end there; set unk_token to a token of its own"
        )


def _fit_model(tokenizer: PreTrainedTokenizerBase, rows: int | None, source: str) -> None:
    if not isinstance(rows, int):
        return
    vocabulary = tokenizer.get_vocab()
    last = max(vocabulary, key=vocabulary.__getitem__)
    if vocabulary[last] >= rows:
        raise TsumugiError(
            f"its ids reach to {vocabulary[last]} ({last!r}), and config.json says vocab_size {rows}: such a token has "
            "no weights. Take tokenizer and model from one place, or remove the tokens that were added to the tokenizer"
        )
    if vocabulary[last] + 1 < _FEW * rows:
        say_once(
            f"{source}: warning: the tokenizer has {vocabulary[last] + 1} ids and the model {rows}: are they from one "
            "place, and is the vocabulary whole?"
        )


def _compare_with_sentencepiece(tokenizer: PreTrainedTokenizerBase, folder: Path, source: str) -> None:
    """Say where a class of Transformers cuts text otherwise than the SentencePiece model that it was made from."""
    if isinstance(tokenizer, SentencePieceTokenizer) or (folder / TOKENIZER_JSON).is_file():
        return
    expected = pieces_by_sentencepiece(folder, LINES, tokenizer.unk_token)
    for line, ids, pieces in zip(LINES, encode_texts(tokenizer, LINES), expected or (), strict=False):
        found = [tokenizer.convert_ids_to_tokens(id_) for id_ in ids]
        if found != pieces:
            place = next((i for i, pair in enumerate(zip(found, pieces, strict=False)) if pair[0] != pair[1]), -1)
            shown = " against ".join(" ".join(map(str, part[max(place, 0) :][:_SHOWN])) for part in (found, pieces))
            say_once(
                f"{source}: warning: {type(tokenizer).__name__} of Transformers cuts text otherwise than SentencePiece "
                f"does with this model, for which the weights were trained ({shown}, in {line!r})"
            )
            return
