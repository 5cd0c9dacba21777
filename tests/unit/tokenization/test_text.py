"""Text is text: no tokenizer finds a special token in it, however it is published."""

import json

import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast, T5Tokenizer

from published_models import LAYOUTS, LINES, hostile_texts, rinna_spiece, t5_spiece
from tsumugi.errors import TsumugiError
from tsumugi.tokenization.encoding import encode_documents
from tsumugi.tokenization.loading import load_tokenizer
from tsumugi.tokenization.prompts import PromptEncoder, encode_text
from tsumugi.tokenization.text_ids import special_tokens

SPECIAL = ["<pad>", "<s>", "</s>", "<unk>", "<mask>", "<extra_id_0>"]


def special_ids(tokenizer):
    return set(tokenizer.convert_tokens_to_ids(sorted(special_tokens(tokenizer)))) - {tokenizer.unk_token_id}


def assert_text_is_text(tokenizer, extra=()):
    special, ids = sorted(special_tokens(tokenizer)), special_ids(tokenizer)
    texts = [*hostile_texts([*special[:9], *extra]), *(f"値段は{token}千円{token} です" for token in special)]
    for text in texts:
        assert ids.isdisjoint(encode_text(tokenizer, text)), text
    for (_, _, sequences), text in zip(encode_documents(tokenizer, enumerate(texts)), texts, strict=True):
        found = [id_ for sequence in sequences for id_ in sequence]
        assert sum(id_ in ids for id_ in found) <= 2 and ids.isdisjoint(found[1:-1]), text
        assert found[-1] == tokenizer.eos_token_id
    prompts = PromptEncoder(tokenizer, f"{special[0]}{{input}}{special[-1]}", 20)
    assert all(ids.isdisjoint(prompts.encode(text)) for text in texts)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_special_tokens_in_a_text_are_text(published, layout):
    assert_text_is_text(load_tokenizer(str(published(layout))), SPECIAL)


ANY_TEXT = st.text(st.sampled_from("猫が青い。 \n\tａＢ①ｶﾞ≪𠮷<>/s\u3000\u2581_0x41[]"), max_size=30)


@settings(max_examples=100, deadline=None)
@given(text=ANY_TEXT)
@pytest.mark.parametrize(("layout", "file"), [("sonoisa_t5", "spiece.model"), ("llama", "tokenizer.model")])
def test_ids_are_those_of_sentencepiece(published, layout, file, text):
    processor = sentencepiece.SentencePieceProcessor(model_file=str(published(layout) / file))
    tokenizer = load_tokenizer(str(published(layout)))
    assert encode_text(tokenizer, text) == processor.encode(text)
    assert tokenizer.decode(processor.encode(text)).replace("<unk>", " ⁇ ") == processor.decode(processor.encode(text))


def test_rinnas_tokenizer_lowers_and_keeps_its_unknown_token_apart(published):
    processor = sentencepiece.SentencePieceProcessor(model_proto=rinna_spiece())
    tokenizer = load_tokenizer(str(published("rinna_gpt2")))
    for text in [*LINES[:50], "ＡＢＣ Hello 天気 𠮷"]:
        assert encode_text(tokenizer, text) == processor.encode(text.lower())
    assert encode_text(tokenizer, "𠮷")[-1] == tokenizer.unk_token_id == 0 != tokenizer.eos_token_id


def unigram(**model):
    """A tokenizer.json of the Unigram kind, with T5's special tokens as pieces and NFKC in front."""
    processor = sentencepiece.SentencePieceProcessor(model_proto=t5_spiece())
    pieces = [(processor.id_to_piece(i), processor.get_score(i)) for i in range(len(processor))]
    extra = [(token, 0.0) for token in ("<mask>", "<extra_id_0>", *(f"<0x{byte:02X}>" for byte in range(256)))]
    backend = Tokenizer(models.Unigram([*pieces, *extra], unk_id=2, **model))
    backend.normalizer = normalizers.NFKC()
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    return backend


def word_level():
    """Words between blanks, where a special token can be one."""
    backend = Tokenizer(models.WordLevel({"</s>": 0, "<unk>": 1, "<s>": 2, "猫": 3, "<pad>": 4}, unk_token="<unk>"))
    backend.normalizer = normalizers.NFKC()
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return backend


def word_piece():
    """Words between blanks and their parts."""
    backend = Tokenizer(models.WordPiece({"[SEP]": 0, "<unk>": 1, "</s>": 2, "<": 3, "##/": 4}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return backend


def merged():
    """BPE in which merges make the special token, as a conversion from SentencePiece does, by chance."""
    vocabulary = {token: id_ for id_, token in enumerate(["</s>", "<unk>", "<", "/", "s", ">", "</", "s>", "猫"])}
    merges = [("<", "/"), ("s", ">"), ("</", "s>")]
    return Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", dropout=0.5))


@pytest.mark.parametrize("make", [unigram, lambda: unigram(byte_fallback=True), word_level, word_piece, merged])
def test_no_kind_of_vocabulary_finds_special_tokens(make, tmp_path):
    backend = make()
    flags = {"lstrip": True, "rstrip": True, "normalized": True}
    backend.add_special_tokens([AddedToken("<mask>", **flags), AddedToken("</s>", **flags)])
    backend.enable_truncation(4)
    backend.enable_padding(length=9)
    fast = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>", unk_token="<unk>", mask_token="<mask>")
    fast.save_pretrained(tmp_path)
    for tokenizer in (fast, load_tokenizer(str(tmp_path))):
        assert_text_is_text(tokenizer, SPECIAL)
        long = "猫 " * 50
        assert len(encode_text(tokenizer, long)) >= 49  # nothing is cut, and nothing filled up
        assert encode_text(tokenizer, long) == encode_text(tokenizer, long)


def test_tokens_that_a_publisher_has_added_are_found_where_they_are_text(published, tmp_path):
    tokenizer = load_tokenizer(str(published("eleuther_neox")))
    tokenizer.add_tokens([AddedToken("紬糸", normalized=False)])
    tokenizer.save_pretrained(tmp_path)
    again = load_tokenizer(str(tmp_path))
    assert encode_text(again, "紬糸<|endoftext|>")[0] == again.convert_tokens_to_ids("紬糸") == len(again) - 1
    assert_text_is_text(again)


def test_bytes_that_a_text_spells_are_text():
    fast = PreTrainedTokenizerFast(tokenizer_object=unigram(byte_fallback=True), eos_token="</s>", unk_token="<unk>")
    ids = encode_text(fast, "<0x41>𠮷")
    assert fast.convert_tokens_to_ids("<0x41>") not in ids
    assert ids[-4:] == fast.convert_tokens_to_ids([f"<0x{byte:02X}>" for byte in "𠮷".encode()])


def test_a_conversion_that_gives_unknown_characters_the_end_token_is_mended(tmp_path):
    """Transformers 5 saves rinna's layout so."""
    (tmp_path / "spiece.model").write_bytes(rinna_spiece())
    named = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "[PAD]", "extra_ids": 0}
    T5Tokenizer.from_pretrained(tmp_path, **named).save_pretrained(tmp_path / "converted")
    model = json.loads((tmp_path / "converted/tokenizer.json").read_text())["model"]
    assert model["unk_id"] != 0  # the fault that is mended
    tokenizer = load_tokenizer(str(tmp_path / "converted"))
    assert encode_text(tokenizer, "𠮷")[-1] == tokenizer.unk_token_id == 0
    tokenizer.save_pretrained(tmp_path / "again")
    assert encode_text(load_tokenizer(str(tmp_path / "again")), "𠮷")[-1] == 0


def test_a_mended_tokenizer_keeps_its_other_settings(tmp_path):
    (tmp_path / "spiece.model").write_bytes(rinna_spiece())
    named = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "[PAD]", "extra_ids": 0}
    settings = {"model_input_names": ["input_ids"], "truncation_side": "left", "padding_side": "left"}
    settings |= {"chat_template": "{{ messages[0]['content'] }}", "model_max_length": 77}
    converted = T5Tokenizer.from_pretrained(tmp_path, **named)
    for name, value in settings.items():
        setattr(converted, name, value)
    converted.save_pretrained(tmp_path / "converted")
    _edit_settings(tmp_path / "converted/tokenizer_config.json", settings)
    tokenizer = load_tokenizer(str(tmp_path / "converted"))
    assert type(tokenizer) is PreTrainedTokenizerFast, "it was mended"
    assert {name: getattr(tokenizer, name) for name in settings} == settings


def _edit_settings(path, settings):
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def test_an_unknown_token_that_is_the_end_token_is_refused(tmp_path):
    backend = Tokenizer(models.WordLevel({"</s>": 0, "猫": 1}, unk_token="</s>"))
    PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>", unk_token="</s>").save_pretrained(tmp_path)
    with pytest.raises(TsumugiError, match="becomes the end token </s>"):
        load_tokenizer(str(tmp_path))
