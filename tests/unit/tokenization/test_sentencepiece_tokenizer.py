"""A SentencePiece model is read as SentencePiece reads it, whatever class of Transformers its files name."""

import json

import pytest
import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoTokenizer,
    PreTrainedTokenizerFast,
)

from published_models import (
    LINES,
    edit_json,
    llama_spiece,
    plain_spiece,
    t5_spiece,
    tohoku_bert,
)
from tsumugi.tokenization.loading import load_tokenizer
from tsumugi.tokenization.prompts import encode_text
from tsumugi.tokenization.text_ids import special_tokens


@pytest.mark.parametrize(
    ("class_name", "kind", "file", "make"),
    [
        ("MT5Tokenizer", "mt5", "spiece.model", t5_spiece),
        (None, "mt5", "spiece.model", t5_spiece),
        (None, "gpt_neox", "spiece.model", t5_spiece),
        ("GemmaTokenizer", "gemma", "tokenizer.model", llama_spiece),
        ("PreTrainedTokenizerFast", "gpt2", "tokenizer.model", llama_spiece),
        ("CodeLlamaTokenizer", "llama", "tokenizer.model", llama_spiece),
        (None, "mistral", "tokenizer.model", llama_spiece),
    ],
)
def test_a_sentencepiece_model_is_read_whatever_class_is_named(tmp_path, class_name, kind, file, make):
    (tmp_path / file).write_bytes(make())
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind, "vocab_size": 700}))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": class_name} if class_name else {}))
    processor = sentencepiece.SentencePieceProcessor(model_proto=make())
    tokenizer = load_tokenizer(str(tmp_path))
    for text in [*LINES[:20], "ＡＢＣ ｶﾞ  </s>𠮷"]:
        assert encode_text(tokenizer, text) == processor.encode(text)


def _with_pieces(model, *pieces):
    proto = sentencepiece_model_pb2.ModelProto.FromString(model)
    for piece in pieces:
        proto.pieces.add(piece=piece, score=0.0, type=sentencepiece_model_pb2.ModelProto.SentencePiece.USER_DEFINED)
    return proto.SerializeToString()


def test_the_sentinels_of_mt5_are_no_text(tmp_path):
    """They stand in its model, with a space in front."""
    sentinels = [f"\u2581<extra_id_{i}>" for i in reversed(range(100))]
    (tmp_path / "spiece.model").write_bytes(_with_pieces(t5_spiece(), *sentinels))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "mt5", "vocab_size": 372}))
    _assert_sentinels_hidden(load_tokenizer(str(tmp_path)))
    processor = sentencepiece.SentencePieceProcessor(model_proto=t5_spiece())
    pieces = [(processor.id_to_piece(i), processor.get_score(i)) for i in range(len(processor))]
    backend = Tokenizer(models.Unigram([*pieces, *((piece, 0.0) for piece in sentinels)], unk_id=2))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="</s>", unk_token="<unk>", pad_token="<pad>"
    ).save_pretrained(tmp_path / "json")
    _assert_sentinels_hidden(load_tokenizer(str(tmp_path / "json")))


def _assert_sentinels_hidden(tokenizer):
    special = special_tokens(tokenizer)
    assert {f"\u2581<extra_id_{i}>" for i in range(100)} <= special
    assert tokenizer.convert_tokens_to_ids("\u2581<extra_id_0>") == len(tokenizer) - 1 == 359
    ids = encode_text(tokenizer, "猫 <extra_id_0>\u2581<extra_id_99>")
    assert max(ids) < 260


@pytest.mark.parametrize(
    ("kind", "class_name", "languages"),
    [
        ("xlm-roberta", None, []),
        ("mbart", "MBartTokenizer", ["ar_AR", "ja_XX"]),
        ("mbart", "MBart50Tokenizer", ["ja_XX"]),
    ],
)
def test_fairseq_moves_the_ids_of_sentencepiece_by_one(tmp_path, kind, class_name, languages):
    """Transformers' conversions leave normalization out, or do it otherwise where dakuten stand alone."""
    (tmp_path / "sentencepiece.bpe.model").write_bytes(plain_spiece())
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind, "vocab_size": 320}))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": class_name}))
    tokenizer = load_tokenizer(str(tmp_path))
    processor = sentencepiece.SentencePieceProcessor(model_proto=plain_spiece())
    for text in [*LINES[:20], "ｶﾞﾗｽ ﾊﾟﾌﾟ ＡＢＣ①… ㌔\n", "𠮷"]:
        assert encode_text(tokenizer, text) == [id_ + 1 if id_ else 3 for id_ in processor.encode(text)]
    assert tokenizer.convert_tokens_to_ids(["<s>", "<pad>", "</s>", "<unk>"]) == [0, 1, 2, 3]
    assert tokenizer.mask_token_id == len(tokenizer) - 1 and tokenizer.unk_token_id == 3
    special = {tokenizer.convert_tokens_to_ids(token) for token in (*languages, "<mask>", "<s>")}
    assert special.isdisjoint(encode_text(tokenizer, f"{''.join(languages)}<mask><s></s><pad>"))
    tokenizer.save_pretrained(tmp_path / "again")
    plain = AutoTokenizer.from_pretrained(tmp_path / "again")
    assert plain.get_vocab() == {**tokenizer.get_vocab(), **plain.added_tokens_encoder}
    assert plain.encode("今日は良い天気です。", add_special_tokens=False) == encode_text(
        tokenizer, "今日は良い天気です。"
    )


def test_a_class_that_cuts_otherwise_than_sentencepiece_is_said(tmp_path, capsys):
    (tmp_path / "spiece.model").write_bytes(plain_spiece())
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "big_bird"}))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BigBirdTokenizer"}))
    load_tokenizer(str(tmp_path))
    assert "BigBirdTokenizer of Transformers cuts text otherwise than SentencePiece" in capsys.readouterr().err


def test_albert_prepares_a_text_as_its_settings_say(taken):
    folder = taken("albert")
    processor = sentencepiece.SentencePieceProcessor(model_file=str(folder / "spiece.model"))
    text = "  ｶﾞﾗｽの「Café」\n  青い"
    assert encode_text(load_tokenizer(str(folder)), text) == processor.encode(text)
    (folder / "tokenizer_config.json").write_text("{}")  # the class's own: accents (dakuten too) and case are taken off
    assert encode_text(load_tokenizer(str(folder)), text) == processor.encode("カラスの「cafe」 青い")


def test_symbols_that_are_text_and_symbols_that_are_special(taken):
    """Those of the model that have no role are text, as SentencePiece has it."""
    folder = taken("rinna_gpt2")
    proto = sentencepiece_model_pb2.ModelProto.FromString((folder / "spiece.model").read_bytes())
    proto.pieces[20].piece, proto.pieces[20].type = (
        "<br>",
        sentencepiece_model_pb2.ModelProto.SentencePiece.USER_DEFINED,
    )
    (folder / "spiece.model").write_bytes(proto.SerializeToString())
    processor = sentencepiece.SentencePieceProcessor(model_file=str(folder / "spiece.model"))
    ids = encode_text(load_tokenizer(str(folder)), "猫<br>[SEP]")
    assert ids[:3] == processor.encode("猫<br>")[:3] and 20 in ids and 5 not in ids


def test_japanese_bert_with_sentencepiece(tmp_path):
    tohoku_bert(tmp_path)
    (tmp_path / "vocab.txt").unlink()
    (tmp_path / "spiece.model").write_bytes(t5_spiece())
    named = {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>", "sep_token": "</s>"}
    edit_json(
        tmp_path / "tokenizer_config.json", subword_tokenizer_type="sentencepiece", do_word_tokenize=False, **named
    )
    (tmp_path / "config.json").unlink()
    tokenizer = load_tokenizer(str(tmp_path))
    processor = sentencepiece.SentencePieceProcessor(model_proto=t5_spiece())
    for text in (LINES[0], "</s>猫"):
        assert encode_text(tokenizer, text) == processor.encode(text)
