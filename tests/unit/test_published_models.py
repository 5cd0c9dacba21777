"""Models open in the layouts in which they are published, train, write and are saved; what is not whole is refused."""

import json
import os
import pickle
import re
import shutil
import zipfile
from pathlib import Path

import pytest
import sentencepiece
import torch
from published_models import (
    LAYOUTS,
    LINES,
    llama_spiece,
    plain_spiece,
    sonoisa_t5,
    t5_spiece,
    tohoku_bert,
    wordpiece_vocabulary,
)
from sentencepiece import sentencepiece_model_pb2
from tokenization_corpus import documents, write_corpus
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    PreTrainedTokenizerFast,
)
from tsumugi.config import Decoding
from tsumugi.errors import TsumugiError
from tsumugi.evaluation.ngrams import NgramModel
from tsumugi.generation.stream import stream_text
from tsumugi.models.loading import load_pretrained, load_run
from tsumugi.outside_model import check_files
from tsumugi.tokenization.boundaries import start_id
from tsumugi.tokenization.encoding import encode_documents
from tsumugi.tokenization.load import load_tokenizer
from tsumugi.tokenization.prompts import encode_text, model_input
from tsumugi.tokenization.text_ids import special_tokens
from tsumugi.tokenization.tokens import encode_shard

SEQ2SEQ, ENCODERS = {"sonoisa_t5"}, {"tohoku_bert", "old_tohoku_bert", "google_bert", "izumi_deberta"}
ENCODERS |= {"xlm_roberta", "albert"}


@pytest.fixture
def taken(published, tmp_path):
    """A copy of a layout that may be spoiled."""

    def copy(name):
        shutil.copytree(published(name), tmp_path / name)
        return tmp_path / name

    return copy


def logits(model):
    ids = torch.arange(5, 25).reshape(2, 10)
    more = {"decoder_input_ids": ids} if model.config.is_encoder_decoder else {}
    with torch.no_grad():
        return model.eval()(input_ids=ids, **more).logits


@pytest.mark.parametrize("layout", LAYOUTS)
def test_published_models_open_as_they_are_published(published, layout, tmp_path):
    folder = published(layout)
    check_files(folder)
    model, tokenizer = load_pretrained(str(folder))
    auto = AutoModelForSeq2SeqLM if layout in SEQ2SEQ else AutoModelForMaskedLM
    auto = auto if layout in SEQ2SEQ | ENCODERS else AutoModelForCausalLM
    expected = logits(auto.from_pretrained(folder, use_safetensors=False))
    assert torch.allclose(logits(model), expected, rtol=0, atol=1e-5 * float(expected.abs().max()))
    assert len(tokenizer) <= model.config.vocab_size
    assert None not in (tokenizer.eos_token_id, tokenizer.pad_token_id)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    again, same = load_run(tmp_path)
    assert torch.equal(logits(again), logits(model))
    assert [encode_text(same, line) for line in LINES[:20]] == [encode_text(tokenizer, line) for line in LINES[:20]]
    for role in ("eos_token_id", "pad_token_id", "unk_token_id", "mask_token_id"):
        assert getattr(same, role) == getattr(tokenizer, role), role
    assert (len(same), start_id(same)) == (len(tokenizer), start_id(tokenizer))


@pytest.mark.parametrize("form", ["bin", "old", "shards", "safetensors"])
def test_every_form_of_weights_gives_the_same_model(published, form, tmp_path):
    sonoisa_t5(tmp_path / "model", form)
    assert torch.equal(
        logits(load_pretrained(str(tmp_path / "model"))[0]), logits(load_pretrained(str(published("sonoisa_t5")))[0])
    )


def test_safetensors_come_before_pickles(taken):
    folder = taken("rinna_gpt2")
    model, _ = load_pretrained(str(folder))
    wanted = logits(model)
    model.save_pretrained(folder)
    torch.save({name: tensor * 0 for name, tensor in model.state_dict().items()}, folder / "pytorch_model.bin")
    assert torch.equal(logits(load_pretrained(str(folder))[0]), wanted)


class _Harm:
    def __reduce__(self):
        return os.mkdir, ("harm",)


@pytest.mark.parametrize("old", [False, True])
def test_a_pickle_that_runs_code_is_refused_and_not_run(taken, old, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    folder = taken("rinna_gpt2")
    harm = {"transformer.wte.weight": _Harm()}
    torch.save(harm, folder / "pytorch_model.bin", _use_new_zipfile_serialization=not old)
    with pytest.raises(TsumugiError, match="holds more than tensors") as refused:
        load_pretrained(str(folder))
    assert "weights_only" not in str(refused.value) and not Path("harm").exists()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(harm))
    with pytest.raises(TsumugiError, match="its weights cannot be opened"):
        load_pretrained(str(folder))
    assert not Path("harm").exists()


def _damage(path):
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda info: info.file_size)
    content = bytearray(path.read_bytes())
    place = largest.header_offset + 200
    content[place : place + 8] = bytes(8 * [255])
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: _damage(folder / "pytorch_model.bin"), "wrong checksum|is damaged"),
        (lambda folder: os.truncate(folder / "pytorch_model.bin", 3000), "cannot be opened|is damaged"),
        (lambda folder: (folder / "pytorch_model.bin").unlink(), "holds no weights"),
        (lambda folder: (folder / "config.json").unlink(), r"holds no config\.json"),
        (lambda folder: (folder / "config.json").write_text("{"), "is not JSON"),
        (
            lambda folder: (folder / "pytorch_model.bin").write_text("version https://git-lfs.github.com/spec/v1\n"),
            "is a pointer of Git LFS",
        ),
        (
            lambda folder: torch.save(
                dict(list(torch.load(folder / "pytorch_model.bin").items())[:-3]), folder / "pytorch_model.bin"
            ),
            "its files lack weights of a GPT2LMHeadModel: transformer.ln_f",
        ),
    ],
)
def test_a_model_that_is_not_whole_is_refused(taken, spoil, message):
    folder = taken("rinna_gpt2")
    spoil(folder)
    with pytest.raises(TsumugiError, match=message):
        load_pretrained(str(folder))


@pytest.mark.parametrize("weight_map", [[], {"transformer.wte.weight": 3}])
def test_an_index_of_weights_that_names_no_files_is_refused(taken, weight_map):
    folder = taken("llama")
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(TsumugiError, match=r"pytorch_model\.bin\.index\.json: its weight_map gives no file"):
        check_files(folder)


def test_a_missing_part_of_the_weights_is_named(taken):
    folder = taken("llama")
    (folder / "pytorch_model-00002-of-00002.bin").unlink()
    with pytest.raises(TsumugiError, match=r"names pytorch_model-00002-of-00002\.bin, which is not there"):
        check_files(folder)


def _edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_code_that_comes_with_a_model_is_never_asked_for(taken, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("a question"))
    folder = taken("rinna_gpt2")
    (folder / "modeling_own.py").write_text("raise SystemExit('run')")
    _edit(folder / "config.json", auto_map={"AutoModelForCausalLM": "modeling_own.Own", "AutoConfig": "modeling_own.C"})
    load_pretrained(str(folder))  # Transformers has a class for it
    _edit(folder / "config.json", model_type="own-kind")
    with pytest.raises(TsumugiError, match="comes with code of its own"):
        load_pretrained(str(folder))
    folder = taken("eleuther_neox")
    (folder / "tokenizer.json").unlink()
    own = {"AutoTokenizer": ["modeling_own.Own", None]}
    _edit(folder / "tokenizer_config.json", auto_map=own, tokenizer_class="OwnTokenizer")
    with pytest.raises(TsumugiError, match="cannot be opened"):
        load_tokenizer(str(folder))


# --- what stands around a text ---


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_decoder_reads_its_own_beginning_token(published, layout):
    tokenizer = load_tokenizer(str(published(layout)))
    beginning = {"llama": "<s>", "rinna_gpt2": "<s>"}.get(layout, tokenizer.eos_token)
    assert tokenizer.convert_ids_to_tokens(start_id(tokenizer)) == beginning
    assert model_input([7, 8], tokenizer, is_encoder_decoder=False) == [start_id(tokenizer), 7, 8]
    assert model_input([7, 8], tokenizer, is_encoder_decoder=True) == [7, 8, tokenizer.eos_token_id]
    ((_, _, sequences),) = encode_documents(tokenizer, [(0, "猫が\n\n青い。\n")])
    ids = [id_ for sequence in sequences for id_ in sequence]
    front = [start_id(tokenizer)] if layout in ("llama", "rinna_gpt2") else []
    if "BertJapanese" not in type(tokenizer).__name__:  # its lines are encoded apart
        assert ids == [*front, *encode_text(tokenizer, "猫が\n\n青い。\n"), tokenizer.eos_token_id]


def test_a_publisher_who_wants_no_beginning_token_is_heard(taken):
    folder = taken("llama")
    _edit(folder / "tokenizer_config.json", add_bos_token=False)
    tokenizer = load_tokenizer(str(folder))
    assert start_id(tokenizer) == tokenizer.eos_token_id != tokenizer.bos_token_id


@pytest.mark.parametrize("with_bos", [True, False])
def test_a_beginning_token_is_heard_beside_tokenizer_json(taken, with_bos, tmp_path):
    folder = taken("llama")
    (folder / "tokenizer.model").unlink()
    backend = _bpe_of(llama_spiece())
    if not with_bos:
        backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    backend.save(str(folder / "tokenizer.json"))
    _edit(folder / "tokenizer_config.json", add_bos_token=with_bos)
    tokenizer = load_tokenizer(str(folder))
    assert start_id(tokenizer) == (1 if with_bos else 2)
    tokenizer.save_pretrained(tmp_path / "again")
    assert start_id(load_tokenizer(str(tmp_path / "again"))) == start_id(tokenizer)


def test_n_grams_count_no_beginning_tokens():
    plain, begun = NgramModel([[5, 6, 2]], 9, 2), NgramModel([[1, 5, 6, 2]], 9, 2, bos=1)
    assert begun.tokens == plain.tokens
    assert all((begun.orders[order].grams == plain.orders[order].grams).all() for order in plain.orders)


@pytest.mark.parametrize("layout", ["gpt2", "rinna_gpt2", "llama", "sonoisa_t5", "google_bert"])
def test_unknown_tokens_are_counted_right(published, layout, tmp_path):
    tokenizer = load_tokenizer(str(published(layout)))
    rows = [row | {"text": f"{row['text']}𠮷"} for row in documents(20)]
    corpus = write_corpus(tmp_path / "corpora", rows, num_shards=1)
    counts = encode_shard(corpus, "00000", tokenizer, tmp_path / "tokens")
    known = layout in ("gpt2", "llama")  # bytes
    assert all((count["unknown"] == 0) == known for count in counts.values()), counts


def test_padding_is_chosen_where_none_is_published_and_said(published, capsys, taken):
    folder = taken("llama")
    tokenizer = load_tokenizer(str(folder))
    assert (
        tokenizer.pad_token == "<unk>"
        and f"{folder}: the tokenizer has no padding token; <unk> pads" in capsys.readouterr().err
    )
    tokenizer = load_tokenizer(str(published("gpt2")))
    assert tokenizer.pad_token == tokenizer.eos_token
    assert load_tokenizer(str(published("tohoku_bert"))).eos_token == "[SEP]"


# --- tokenizers that are not what they seem ---

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
    for name in ("merges.txt",):
        (folder / name).unlink(missing_ok=True)
    with pytest.raises(TsumugiError, match="holds no vocabulary"):
        check_files(folder)


def test_missing_merges_are_named(taken):
    folder = taken("gpt2")
    (folder / "merges.txt").unlink()
    with pytest.raises(TsumugiError, match=r"its vocabulary is missing.*merges\.txt"):
        load_tokenizer(str(folder))


def test_a_class_that_reads_other_files_is_refused(taken):
    folder = taken("google_bert")
    _edit(folder / "tokenizer_config.json", tokenizer_class="T5Tokenizer")
    with pytest.raises(TsumugiError, match=r"T5Tokenizer reads .*spiece\.model"):
        load_tokenizer(str(folder))


def test_more_ids_than_the_model_has_rows_are_refused_and_fewer_are_not(taken):
    folder = taken("sonoisa_t5")
    _edit(folder / "config.json", vocab_size=320)
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
    _edit(folder / "tokenizer_config.json", added_tokens_decoder={"1": {"content": "</s>", "special": True}})
    with pytest.raises(TsumugiError, match=r"gives '</s>' the id 1, spiece\.model the id 2"):
        load_tokenizer(str(folder))


@pytest.mark.parametrize("named", ["BertTokenizer", "LlamaTokenizer", "PreTrainedTokenizerFast", "T5TokenizerFast"])
def test_tokenizer_json_decides_whatever_class_is_named(tmp_path, named):
    """Transformers builds a tokenizer of the named class and leaves the file's normalizer and cutting out."""
    words = {token: id_ for id_, token in enumerate(["</s>", "<unk>", *"今日は良い天気です。ﾞガラスカＡa1", "abc"])}
    backend = Tokenizer(models.WordPiece(words, unk_token="<unk>", max_input_chars_per_word=1))
    backend.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    backend.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>", unk_token="<unk>").save_pretrained(tmp_path)
    _edit(tmp_path / "tokenizer_config.json", tokenizer_class=named)
    expected = backend.encode("今日はｶﾞＡ1").ids
    try:
        assert encode_text(load_tokenizer(str(tmp_path)), "今日はｶﾞＡ1") == expected
    except TsumugiError as refused:  # where Transformers cannot make such a class of this file
        assert "cannot be opened" in str(refused)


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


def _bpe_of(model, more=()):
    """tokenizer.json as it is converted from LLaMA's model, with further pieces."""
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    vocabulary = {processor.id_to_piece(id_): id_ for id_ in range(len(processor))}
    vocabulary |= {piece: len(processor) + place for place, piece in enumerate(more)}
    merges = [(piece[:1], piece[1:]) for piece in more]
    backend = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    backend.add_special_tokens(["<unk>", "<s>", "</s>"])
    return backend


def test_pieces_that_tokenizer_json_alone_has_are_used(taken):
    """ELYZA's enlarged vocabularies lie beside LLaMA's own model."""
    folder = taken("llama")
    _edit(folder / "config.json", vocab_size=601)
    backend = _bpe_of(llama_spiece(), ["青い"])
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


def test_japanese_bert_with_sentencepiece(tmp_path):
    tohoku_bert(tmp_path)
    (tmp_path / "vocab.txt").unlink()
    (tmp_path / "spiece.model").write_bytes(t5_spiece())
    named = {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>", "sep_token": "</s>"}
    _edit(tmp_path / "tokenizer_config.json", subword_tokenizer_type="sentencepiece", do_word_tokenize=False, **named)
    (tmp_path / "config.json").unlink()
    tokenizer = load_tokenizer(str(tmp_path))
    processor = sentencepiece.SentencePieceProcessor(model_proto=t5_spiece())
    for text in (LINES[0], "</s>猫"):
        assert encode_text(tokenizer, text) == processor.encode(text)


def test_a_head_that_a_published_encoder_lacks_is_said(taken, capsys):
    folder = taken("google_bert")
    state = torch.load(folder / "pytorch_model.bin")
    torch.save({n: t for n, t in state.items() if not n.startswith("cls.")}, folder / "pytorch_model.bin")
    load_pretrained(str(folder))
    assert "the files lack the head (cls.predictions" in capsys.readouterr().err
    torch.save(
        {n: t for n, t in state.items() if "word_embeddings" not in n and "decoder" not in n},
        folder / "pytorch_model.bin",
    )
    with pytest.raises(TsumugiError, match=r"lack weights of a BertForMaskedLM: bert\.embeddings\.word_embeddings"):
        load_pretrained(str(folder))


def test_an_encoder_is_not_asked_to_write(published):
    model, tokenizer = load_run(published("tohoku_bert"))
    with pytest.raises(TsumugiError, match="a bert is an encoder"):
        next(stream_text(model, tokenizer, [5], Decoding(), 3))
