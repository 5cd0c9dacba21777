"""A trained tokenizer loses nothing, agrees with SentencePiece, and takes text for text."""

import pytest
import sentencepiece
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from tokenization_corpus import sentences
from tsumugi.errors import TsumugiError
from tsumugi.tokenization.encoding import encode_documents, lines_of
from tsumugi.tokenization.loading import load_tokenizer
from tsumugi.tokenization.prompts import encode_text
from tsumugi.tokenization.sentencepiece_export import SENTENCEPIECE_MODEL, save, to_transformers
from tsumugi.tokenization.special_tokens import BYTES, SPECIAL_TOKENS
from tsumugi.tokenization.text_ids import encode_texts
from tsumugi.tokenization.train_tokenizer import train_sentencepiece

VOCAB_SIZE = 520
LINES = [line for text in sentences(600) for line in text.split("\n") if line]
RUNS = st.text("-=aが 。\t", max_size=40)  # ties and repeated merges
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
INJECTIONS = st.lists(st.sampled_from([*SPECIAL_TOKENS[:9], *BYTES[64:68], "<", "[", "a", "猫が", " "])).map("".join)


def train(kind: str, **changes) -> bytes:
    return train_sentencepiece(LINES, **({"kind": kind, "vocab_size": VOCAB_SIZE, "character_coverage": 1.0} | changes))


@pytest.fixture(scope="module", params=["unigram", "bpe"])
def trained(request, tmp_path_factory):
    model = train(request.param)
    folder = tmp_path_factory.mktemp(request.param)
    save(to_transformers(model, request.param), folder, model)
    return request.param, folder


@pytest.fixture(scope="module")
def tokenizer(trained):
    return AutoTokenizer.from_pretrained(trained[1])


@pytest.fixture(scope="module")
def processor(trained):
    return sentencepiece.SentencePieceProcessor(model_file=str(trained[1] / SENTENCEPIECE_MODEL))


def test_ids_of_special_tokens(tokenizer):
    assert len(tokenizer) == VOCAB_SIZE
    assert tokenizer.convert_ids_to_tokens(list(range(363))) == [*SPECIAL_TOKENS, *BYTES]
    names = ("pad", "bos", "eos", "unk", "cls", "sep", "mask")
    assert [getattr(tokenizer, f"{name}_token_id") for name in names] == list(range(7))
    assert sorted(tokenizer.all_special_ids) == list(range(107))


def test_two_trainings_give_the_same_files(trained, tmp_path):
    kind, folder = trained
    model = train(kind)
    for path in save(to_transformers(model, kind), tmp_path, model):
        assert path.read_bytes() == (folder / path.name).read_bytes(), path.name


@settings(max_examples=150, deadline=None)
@given(text=st.one_of(ANY_TEXT, RUNS, INJECTIONS))
@example("a\u2581b")  # SentencePiece's own sign for a space
@example(" ｱｲｳﾞ 👨‍👩‍👧\r\n\n\t\u2028\x00\ufeff ")
@example("[MASK]<0x41></s><extra_id_5>")
def test_lossless_and_never_a_special_token(tokenizer, text):
    ids = encode_text(tokenizer, text)
    assert tokenizer.decode(ids) == text
    assert all(id_ >= len(SPECIAL_TOKENS) for id_ in ids)
    assert encode_texts(tokenizer, [text]) == [ids]


@settings(max_examples=150, deadline=None)
@given(text=st.one_of(ANY_TEXT, RUNS).filter(lambda text: "\u2581" not in text))
@example("-----")
@example("猫が青い空を見ている。\n  字下げ")
def test_same_ids_as_sentencepiece(tokenizer, processor, text):
    assert encode_text(tokenizer, text) == processor.encode(text)


def test_same_ids_as_sentencepiece_on_sentences(tokenizer, processor):
    unseen = sentences(2000, seed=1)
    assert encode_texts(tokenizer, unseen) == processor.encode(unseen)


@given(text=ANY_TEXT | RUNS)
def test_lines_join_to_the_text(text):
    lines = lines_of(text)
    assert "".join(lines) == text
    assert all(line.find("\n") in (-1, len(line) - 1) and line for line in lines)


def test_documents_keep_their_order_and_end_with_eos(tokenizer):
    texts = ["", "猫\n", "\n\n犬", *sentences(50, seed=2)]
    encoded = list(encode_documents(tokenizer, enumerate(texts)))
    assert [(key, text) for key, text, _ in encoded] == list(enumerate(texts))
    for _, text, sequences in encoded:
        ids = [id_ for sequence in sequences for id_ in sequence]
        assert ids[-1] == tokenizer.eos_token_id and tokenizer.decode(ids[:-1]) == text
        assert len(sequences) == max(1, len(lines_of(text)))
        assert ids[:-1] == encode_text(tokenizer, text)


def test_saved_again_with_a_model_it_is_the_same(tokenizer, tmp_path):
    texts = [*sentences(50, seed=3), "[MASK] a\u2581<0x41>"]
    for model_type in ("t5", "rwkv"):  # AutoTokenizer looks at the model's configuration too
        tokenizer.save_pretrained(tmp_path)
        (tmp_path / "config.json").write_text(f'{{"model_type": "{model_type}"}}')
        again = AutoTokenizer.from_pretrained(tmp_path)
        assert encode_texts(again, texts) == encode_texts(tokenizer, texts)


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_errors_name_the_key(kind):
    with pytest.raises(TsumugiError, match=r"tokenizers\.x\.vocab_size: 400 is too small"):
        train(kind, vocab_size=400, key="tokenizers.x")
    with pytest.raises(TsumugiError, match=r"tokenizers\.x\.vocab_size: 90000 is more than"):
        train(kind, vocab_size=90000, key="tokenizers.x")
    with pytest.raises(TsumugiError, match=r"tokenizers\.x\.corpora"):
        train_sentencepiece([], kind=kind, vocab_size=500, character_coverage=1.0, key="tokenizers.x")


def test_loading_what_is_not_there(tmp_path):
    with pytest.raises(TsumugiError, match="no such directory"):
        load_tokenizer(str(tmp_path / "absent"))
    with pytest.raises(TsumugiError, match="cannot be opened"):
        load_tokenizer(str(tmp_path))
