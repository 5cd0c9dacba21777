"""The files of a tokenizer: those that are missing, damaged, of another tokenizer or of a class that reads others."""

import json
import re
import shutil

import pytest
import sentencepiece
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import (
    PreTrainedTokenizerFast,
)

from published_models import (
    bpe_of,
    edit_json,
    llama_spiece,
    t5_spiece,
    tohoku_bert,
    wordpiece_vocabulary,
)
from tsumugi.errors import TsumugiError
from tsumugi.models.loading import load_pretrained
from tsumugi.outside_model import check_files
from tsumugi.tokenization.loading import load_tokenizer
from tsumugi.tokenization.prompts import encode_text

FILES = {
    "sonoisa_t5": "spiece.model",
    "rinna_gpt2": "spiece.model",
    "llama": "tokenizer.model",
    "tohoku_bert": "vocab.txt",
    "google_bert": "vocab.txt",
    "izumi_deberta": "spm.model",
    "xlm_roberta": "sentencepiece.bpe.model",
    "albert": "spiece.model",
    "eleuther_neox": "tokenizer.json",
    "gpt2": "vocab.json",
}


@pytest.mark.parametrize("layout", FILES)
def test_a_missing_vocabulary_is_named(taken, layout):
    folder = taken(layout)
    (folder / FILES[layout]).unlink()
    with pytest.raises(TsumugiError, match="its vocabulary is missing") as refused:
        load_tokenizer(str(folder))
    assert FILES[layout] in str(refused.value) and "end token" not in str(refused.value)
    with pytest.raises(TsumugiError, match="holds no vocabulary"):
        check_files(folder)


def test_missing_merges_are_named(taken):
    folder = taken("gpt2")
    (folder / "merges.txt").unlink()
    with pytest.raises(TsumugiError, match=r"its vocabulary is missing.*merges\.txt"):
        load_tokenizer(str(folder))


def test_a_class_that_reads_other_files_is_refused(taken):
    folder = taken("google_bert")
    edit_json(folder / "tokenizer_config.json", tokenizer_class="T5Tokenizer")
    with pytest.raises(TsumugiError, match=r"T5Tokenizer reads .*spiece\.model"):
        load_tokenizer(str(folder))


def test_more_ids_than_the_model_has_rows_are_refused_and_fewer_are_not(taken):
    folder = taken("sonoisa_t5")
    edit_json(folder / "config.json", vocab_size=320)
    with pytest.raises(TsumugiError, match=r"reach to 359 \('<extra_id_0>'\), and config.json says vocab_size 320"):
        load_tokenizer(str(folder))
    folder = taken("llama")
    (folder / "added_tokens.json").write_text('{"[PAD]": 600}')
    with pytest.raises(TsumugiError, match=r"reach to 600 \('\[PAD\]'\)"):
        load_pretrained(str(folder))


def test_sentinels_that_the_model_has_no_rows_for_are_left_out(tmp_path):
    (tmp_path / "spiece.model").write_bytes(t5_spiece())
    assert len(load_tokenizer_with(tmp_path, vocab_size=260)) == 260
    assert len(load_tokenizer_with(tmp_path, vocab_size=384)) == 360


def load_tokenizer_with(folder, **config):
    (folder / "config.json").write_text(json.dumps({"model_type": "t5", **config}))
    return load_tokenizer(str(folder))


def test_files_of_two_tokenizers_are_refused(taken, published):
    folder = taken("llama")
    (folder / "added_tokens.json").write_text('{"</s>": 7}')
    with pytest.raises(TsumugiError, match=r"added_tokens.json gives '</s>' the id 7, tokenizer.model the id 2"):
        load_tokenizer(str(folder))
    folder = taken("google_bert")
    load_tokenizer(str(folder)).save_pretrained(folder)  # tokenizer.json beside vocab.txt
    load_tokenizer(str(folder))
    (folder / "vocab.txt").write_text(wordpiece_vocabulary(("[unused0]",)))
    with pytest.raises(TsumugiError, match=r"vocab.txt gives .* belong to different tokenizers"):
        load_tokenizer(str(folder))
    folder = taken("sonoisa_t5")
    shutil.copyfile(published("rinna_gpt2") / "spiece.model", folder / "spiece.model")
    edit_json(folder / "tokenizer_config.json", added_tokens_decoder={"1": {"content": "</s>", "special": True}})
    with pytest.raises(TsumugiError, match=r"gives '</s>' the id 1, spiece\.model the id 2"):
        load_tokenizer(str(folder))


@pytest.mark.parametrize(
    ("named", "opens"),
    [
        ("BertTokenizer", True),
        ("LlamaTokenizer", True),
        ("PreTrainedTokenizerFast", True),
        ("T5TokenizerFast", False),  # Transformers cannot make one of a vocabulary without scores
    ],
)
def test_tokenizer_json_decides_whatever_class_is_named(tmp_path, named, opens):
    """Transformers builds a tokenizer of the named class and leaves the file's normalizer and cutting out."""
    words = {token: id_ for id_, token in enumerate(["</s>", "<unk>", *"今日は良い天気です。ﾞガラスカＡa1", "abc"])}
    backend = Tokenizer(models.WordPiece(words, unk_token="<unk>", max_input_chars_per_word=1))
    backend.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    backend.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>", unk_token="<unk>").save_pretrained(tmp_path)
    edit_json(tmp_path / "tokenizer_config.json", tokenizer_class=named)
    if not opens:
        with pytest.raises(TsumugiError, match="cannot be opened"):
            load_tokenizer(str(tmp_path))
        return
    assert encode_text(load_tokenizer(str(tmp_path)), "今日はｶﾞＡ1") == backend.encode("今日はｶﾞＡ1").ids


def test_pieces_that_tokenizer_json_alone_has_are_used(taken):
    """ELYZA's enlarged vocabularies lie beside LLaMA's own model."""
    folder = taken("llama")
    edit_json(folder / "config.json", vocab_size=601)
    backend = bpe_of(llama_spiece(), ["青い"])
    backend.save(str(folder / "tokenizer.json"))
    tokenizer = load_tokenizer(str(folder))
    assert encode_text(tokenizer, "猫が青い") == backend.encode("猫が青い", add_special_tokens=False).ids
    assert 600 in encode_text(tokenizer, "猫が青い") and tokenizer.eos_token == "</s>"


@pytest.mark.parametrize(("layout", "spoil"), [("llama", "bytes"), ("sonoisa_t5", "swapped")])
def test_tokenizer_json_with_other_ids_than_the_model_is_refused(taken, layout, spoil):
    folder = taken(layout)
    if spoil == "bytes":
        words = {"<|endoftext|>": 0, "a": 1, "天": 2}
        Tokenizer(models.WordLevel(words, unk_token="<|endoftext|>")).save(str(folder / "tokenizer.json"))
    else:
        processor = sentencepiece.SentencePieceProcessor(model_proto=t5_spiece())
        pieces = [(processor.id_to_piece(i), processor.get_score(i)) for i in range(len(processor))]
        pieces[50], pieces[60] = pieces[60], pieces[50]
        Tokenizer(models.Unigram(pieces, unk_id=2)).save(str(folder / "tokenizer.json"))
    with pytest.raises(TsumugiError, match=r"tokenizer\.json (gives|lacks) .* belong to different tokenizers"):
        load_tokenizer(str(folder))


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("special_tokens_map.json", "[]", "is no JSON object"),
        ("added_tokens.json", "[1]", "is no JSON object"),
        ("added_tokens.json", '{"<x>": "360"}', "the id of '<x>' is '360'"),
        ("spiece.model", "version https://git-lfs.github.com/spec/v1\n", "is a pointer of Git LFS"),
    ],
)
def test_a_damaged_file_of_a_tokenizer_is_named(taken, file, content, message):
    folder = taken("sonoisa_t5")
    (folder / file).write_text(content)
    with pytest.raises(TsumugiError, match=f"{re.escape(file)}.*{message}"):
        load_tokenizer(str(folder))


def test_bytes_need_no_vocabulary(tmp_path):
    settings = {"tokenizer_class": "ByT5Tokenizer", "extra_ids": 125, "eos_token": "</s>", "unk_token": "<unk>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings | {"pad_token": "<pad>"}))
    tokenizer = load_tokenizer(str(tmp_path))
    text = "天</s><extra_id_0>"
    assert encode_text(tokenizer, text) == [byte + 3 for byte in text.encode()]


@pytest.mark.parametrize("subword", ["wordpiece", "character"])
@pytest.mark.parametrize("dictionary", ["unidic_lite", "ipadic"])
def test_japanese_bert_cuts_words_by_its_dictionary(tmp_path, dictionary, subword):
    tohoku_bert(tmp_path, dictionary=dictionary, subword=subword)
    tokenizer = load_tokenizer(str(tmp_path))
    text = "猫が青い空を見ている。"
    assert encode_text(tokenizer, text) == tokenizer.encode(text, add_special_tokens=False)
    assert tokenizer.unk_token_id not in encode_text(tokenizer, text)
    pieces = tokenizer.convert_ids_to_tokens(encode_text(tokenizer, "見ている"))
    assert pieces == (["見", "て", "い", "る"] if subword == "character" else ["見", "て", "い", "##る"])
