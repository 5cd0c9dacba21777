"""The World tokenizer against the ``rwkv`` package's own, and as a tokenizer of Transformers."""

import copy
import pickle
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from rwkv.rwkv_tokenizer import TRIE_TOKENIZER
from transformers import AutoTokenizer, RwkvConfig

from tsumugi.config.loading import load_config
from tsumugi.config.specs import SPECS
from tsumugi.errors import TsumugiError
from tsumugi.tokenization.encoding import encode_documents
from tsumugi.tokenization.loading import load_tokenizer
from tsumugi.tokenization.measure_tokenizer import measure
from tsumugi.tokenization.prompts import encode_text
from tsumugi.tokenization.world_tokenizer import (
    MODEL_IDS,
    VOCABULARY_FILE,
    WorldTokenizer,
    packaged_vocabulary,
    read_vocabulary,
)

ROOT = Path(__file__).parents[3]
REFERENCE = TRIE_TOKENIZER(str(Path(find_spec("rwkv").origin).parent / VOCABULARY_FILE))
TOKENIZER = WorldTokenizer()
PIECES = list(REFERENCE.token2idx)

letters = st.characters(exclude_categories=["Cs"])  # all of Unicode; lone surrogates have a test of their own
pieces = st.sampled_from(PIECES)  # whole tokens and parts of characters, which chance alone would never hit
texts = st.one_of(
    st.text(letters),
    st.text(st.sampled_from("\n\r\t \u3000。、「」あいう漢字カナー0123<|endoftext|>")),
    st.lists(pieces, max_size=8).map(lambda parts: b"".join(parts).decode(errors="replace")),
)
byte_strings = st.one_of(st.binary(max_size=60), st.lists(pieces | st.binary(max_size=3), max_size=10).map(b"".join))


@given(texts)
@example("")
@example("\n\n")
@example("\r\n\r\n")
@example("<|endoftext|>")
@example("<s>[MASK]<pad>")
@example("\x00\x7f\x80\xff\ufeff\ufffd\U0010ffff")
@example("か\u3099が👩‍👩‍👧‍👦")
def test_ids_are_those_of_the_reference_in_every_way_to_ask(text):
    expected = REFERENCE.encode(text)
    assert TOKENIZER.encode(text) == TOKENIZER(text)["input_ids"] == encode_text(TOKENIZER, text) == expected
    assert TOKENIZER.encode_batch([text, "x", text]) == [expected, REFERENCE.encode("x"), expected]
    assert TOKENIZER.encode_bytes(text.encode()) == expected
    assert TOKENIZER.convert_tokens_to_ids(TOKENIZER.tokenize(text)) == expected
    assert TOKENIZER.decode(expected) == text


@given(byte_strings)
@example(b"\xe3")
@example(b"\xff\xfe\xe3\x81")
def test_ids_of_bytes_are_those_of_the_reference(data):
    ids = TOKENIZER.encode_bytes(data)
    assert ids == REFERENCE.encodeBytes(data)
    assert TOKENIZER.decode_bytes(ids) == data
    assert TOKENIZER.decode(ids) == data.decode(errors="replace")
    tokens = TOKENIZER.convert_ids_to_tokens(ids)
    assert TOKENIZER.convert_tokens_to_ids(tokens) == ids
    assert TOKENIZER.convert_tokens_to_string(tokens) == data.decode(errors="replace")


@given(st.lists(st.integers(1, len(PIECES)), max_size=20))
def test_any_ids_decode_to_the_bytes_of_the_reference(ids):
    assert TOKENIZER.decode_bytes(ids) == REFERENCE.decodeBytes(ids)


def test_the_vocabulary_is_that_of_the_reference():
    assert read_vocabulary(packaged_vocabulary()) == REFERENCE.token2idx


@pytest.mark.parametrize("text", ["a\ud800b", "\udc80", "\udfff\ud800"])
def test_a_lone_surrogate_is_no_text(text):
    for encode in (REFERENCE.encode, TOKENIZER, TOKENIZER.encode, lambda text: TOKENIZER.encode_batch([text])):
        with pytest.raises(UnicodeEncodeError, match="surrogates not allowed"):
            encode(text)


def test_a_character_in_parts_is_joined_before_it_is_decoded():
    ids = [id_ for byte in "日".encode() for id_ in TOKENIZER.encode_bytes(bytes([byte]))]
    assert len(ids) == 3
    assert TOKENIZER.decode(ids) == "日"
    assert TOKENIZER.decode(ids[:2]) == "\ufffd"


def test_id_0_ends_begins_and_fills():
    assert (TOKENIZER.eos_token_id, TOKENIZER.bos_token_id, TOKENIZER.pad_token_id) == (0, 0, 0)
    assert TOKENIZER.unk_token_id is None
    ids = [0, *TOKENIZER.encode("日本"), 0]
    assert TOKENIZER.decode(ids) == "<|endoftext|>日本<|endoftext|>"
    assert TOKENIZER.decode(ids, skip_special_tokens=True) == "日本"
    assert TOKENIZER("a<|endoftext|>b", split_special_tokens=False)["input_ids"] == [98, 0, 99]
    batch = TOKENIZER(["", "日本", "日"], padding=True, return_tensors="pt")
    assert batch["input_ids"].tolist() == [[0, 0], TOKENIZER.encode("日本"), [0, *TOKENIZER.encode("日")]]
    assert batch["attention_mask"].tolist() == [[0, 0], [1, 1], [0, 1]]


def test_a_model_has_more_ids_than_there_are_tokens():
    assert len(TOKENIZER) == TOKENIZER.vocab_size == MODEL_IDS == 65_536
    assert len(TOKENIZER.get_vocab()) == len(PIECES) + 1
    assert TOKENIZER.decode([98, 65_530, 65_535, 99]) == "a\ufffd\ufffdb"
    for bad in (-1, 65_536):
        with pytest.raises(TsumugiError, match=rf"token id {bad} is not between 0 and 65535"):
            TOKENIZER.decode([98, bad])


def test_batches_pairs_tensors_and_truncation():
    assert TOKENIZER(["a", "bb"])["input_ids"] == [REFERENCE.encode("a"), REFERENCE.encode("bb")]
    assert TOKENIZER("a", "b")["input_ids"] == [98, 99]
    assert TOKENIZER([("a", "b")])["input_ids"] == [[98, 99]]
    assert TOKENIZER("あいう日本", truncation=True, max_length=2)["input_ids"] == REFERENCE.encode("あいう日本")[:2]
    assert TOKENIZER.decode(torch.tensor([[98], [99]])) == ["a", "b"]


def test_a_saved_tokenizer_needs_no_other_file(tmp_path):
    own = tmp_path / "own.txt"
    shutil.copyfile(packaged_vocabulary(), own)
    WorldTokenizer(own).save_pretrained(tmp_path / "saved")
    own.unlink()
    loaded = AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert type(loaded) is WorldTokenizer
    assert loaded.encode("日本\n\n<|endoftext|>") == REFERENCE.encode("日本\n\n<|endoftext|>")
    assert str(tmp_path) not in (tmp_path / "saved" / "tokenizer_config.json").read_text(encoding="utf-8")
    loaded.save_pretrained(tmp_path / "saved")  # onto itself
    assert load_tokenizer(str(tmp_path / "saved")).encode("日") == REFERENCE.encode("日")
    RwkvConfig(vocab_size=MODEL_IDS).save_pretrained(tmp_path / "saved")  # beside a model, as in a run's folder
    assert type(AutoTokenizer.from_pretrained(tmp_path / "saved")) is WorldTokenizer


def test_copies_and_pickles_encode_alike():
    TOKENIZER.encode("a")
    for other in (copy.deepcopy(TOKENIZER), pickle.loads(pickle.dumps(TOKENIZER))):
        assert other.encode("日本\n\n") == REFERENCE.encode("日本\n\n")


def test_added_tokens_take_the_free_ids():
    tokenizer = WorldTokenizer(split_special_tokens=False)
    assert tokenizer.add_tokens(["<user>"]) == 1
    assert tokenizer("a<user>")["input_ids"] == [98, 65_530]
    assert tokenizer.decode([98, 65_530]) == "a<user>"
    assert len(tokenizer) == MODEL_IDS


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("nonsense", "is not 'id literal length'"),
        ("300 'abc' 4", r"b'abc' has 3 bytes, the line says 4"),
        ("300 '日' 1", "has 3 bytes, the line says 1"),
        ("300 '' 0", "b'' has 0 bytes"),
        ("0 'abc' 3", "the id 0 is not between 1 and 65535"),
        ("65536 'abc' 3", "the id 65536 is not between"),
        ("300 b'日' 3", "is no literal of a token"),
        ("300 '\\xZZ' 3", "is no literal of a token"),
        ("300 '\\ud800' 3", "is no literal of a token"),
        ("300 __import__('os') 3", "is not 'id literal length'"),
        ("300 'a'.upper() 1", "is not 'id literal length'"),
        ("300 '\\n' 1", r"token b'\\n' already has the id 11"),
    ],
)
def test_a_broken_line_is_named(tmp_path, line, message):
    lines = packaged_vocabulary().read_text(encoding="utf-8").split("\n")
    lines[299] = line
    (tmp_path / "v.txt").write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(TsumugiError, match=rf"v\.txt, line 300: .*{message}"):
        WorldTokenizer(tmp_path / "v.txt")


def test_a_vocabulary_that_cannot_encode_everything_is_refused(tmp_path):
    path = tmp_path / "v.txt"
    with pytest.raises(TsumugiError, match=r"v\.txt: the vocabulary cannot be read"):
        WorldTokenizer(path)
    lines = packaged_vocabulary().read_text(encoding="utf-8").split("\n")
    path.write_text("\n".join(lines[:65] + lines[66:]), encoding="utf-8")
    with pytest.raises(TsumugiError, match=r"v\.txt: the byte 0x41 has no token"):
        WorldTokenizer(path)
    path.write_text("\n".join([lines[0].replace("1 ", "2 ", 1), *lines[1:]]), encoding="utf-8")
    with pytest.raises(TsumugiError, match=r"v\.txt: 65529 tokens share 65528 ids"):
        WorldTokenizer(path)
    path.write_bytes(b"\xff")
    with pytest.raises(TsumugiError, match=r"v\.txt: the vocabulary is not UTF-8"):
        WorldTokenizer(path)


def test_a_document_is_encoded_whole():
    """Cut into lines, a paragraph's end would become two tokens instead of the one that World models know."""
    found = list(encode_documents(TOKENIZER, [("a", "一\n\n二"), ("b", ""), ("c", "三\n")]))
    assert found == [
        ("a", "一\n\n二", [[*REFERENCE.encode("一\n\n二"), 0]]),
        ("b", "", [[0]]),
        ("c", "三\n", [[*REFERENCE.encode("三\n"), 0]]),
    ]


class OneText:
    """A corpus of one document."""

    def shards(self):
        return ["00000"]

    def texts(self, shard, splits):
        return [(splits[0], "日本\n\n𠮟")]


def test_fertility_counts_characters_in_parts():
    results = measure(OneText(), TOKENIZER)
    parts = len(REFERENCE.encode("𠮟"))  # not in the vocabulary
    assert parts > 1
    assert (results["characters"], results["tokens"]) == (5, 3 + parts)
    assert results["byte_share"] == parts / (3 + parts)
    assert results["unknown_share"] == 0


CONFIG = """
corpora: {docs: {reader: local_files, files: [a.txt], format: text}}
tokenizers: {world: {kind: world, corpora: [docs]}}
architectures:
  rwkv: {kind: rwkv4, n_layer: 2, n_embd: 64}
  t5: {kind: t5, d_model: 64, d_ff: 64, num_layers: 1, num_decoder_layers: 1, num_heads: 1}
recipes: {short: {learning_rate: 0.001, global_batch: 4, steps: 10}}
runs:
  base: {architecture: rwkv, tokenizer: world, objective: causal_lm, corpora: {docs: 1.0}, recipe: short}
"""


def test_a_configuration_names_it_and_nothing_else():
    config = load_config(yaml.safe_load(CONFIG))
    spec = SPECS["train_tokenizer"](config, "world")  # what measure_tokenizer reads
    assert spec == {"tokenizer": {"kind": "world", "corpora": ["docs"]}, "num_shards": {"docs": 1}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"runs": {"base": {"architecture": "t5", "objective": "span_corruption"}}},
            r"runs\.base\.objective: span_corruption needs mask or sentinel tokens, which tokenizers\.world \(kind "
            r"world\) does not have; use causal_lm or sft",
        ),
        ({"tokenizers": {"world": {"vocab_size": 8000}}}, r"tokenizers\.world\.vocab_size: unknown key"),
        ({"tokenizers": {"world": {"kind": "wrld"}}}, r"tokenizers\.world\.kind: 'wrld' is not known; choose from"),
        ({"tokenizers": {"world": {"corpora": ["x"]}}}, r"tokenizers\.world\.corpora: there is no corpus named 'x'"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(change, message):
    raw = yaml.safe_load(CONFIG)
    for section, entries in change.items():
        for name, keys in entries.items():
            raw[section][name] |= keys
    with pytest.raises(TsumugiError, match=message):
        load_config(raw)


def test_the_command_line_writes_a_folder(tmp_path):
    script = ROOT / "scripts" / "make_world_tokenizer.py"
    output = tmp_path / "world" / "manifest.json"
    done = subprocess.run([sys.executable, script, "--output", output], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in output.parent.iterdir()) == [
        "manifest.json",
        VOCABULARY_FILE,
        "tokenizer_config.json",
    ]
    assert load_tokenizer(str(output.parent)).encode("日本") == REFERENCE.encode("日本")
    done = subprocess.run(
        [sys.executable, script, "--vocabulary", tmp_path / "none.txt", "--output", output],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "none.txt: the vocabulary cannot be read" in done.stderr
