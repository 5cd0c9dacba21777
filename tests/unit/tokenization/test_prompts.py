"""A prompt is encoded as the one string that it is: whoever encodes the filled template gets the same ids."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import BertJapaneseTokenizer, PreTrainedTokenizerFast

from tokenization_corpus import sentences
from tsumugi.errors import TsumugiError
from tsumugi.tokenization.prompts import PromptEncoder, encode_text
from tsumugi.tokenization.sentencepiece_export import to_transformers
from tsumugi.tokenization.train_tokenizer import train_sentencepiece
from tsumugi.tokenization.world_tokenizer import WorldTokenizer

LINES = [line for text in sentences(300) for line in text.split("\n") if line]
TEMPLATES = (
    "題名：{input}\n\n本文：",
    "User: {input}\n\nAssistant:",
    "{input}",
    "\n {input}",
    "{input} \n",
    "「{input}」</s>\n",
    "次の題で記事を書いてください。{input}。",
)
TITLES = (
    "包丁の選び方。",
    "猫が青い空を見ている",
    "hello world",
    " 字下げ ",
    "𠮷野家の𩸽👨‍👩‍👧定食",
    "e\u0301か\u3099",
    "\n\n。\n",
    "</s><pad>",
    "ｱﾙﾌｧ㌔①",
    "猫" * 40,
)


def _trained(kind):
    return to_transformers(train_sentencepiece(LINES, kind=kind, vocab_size=520, character_coverage=1.0), kind)


def _byte_level():
    """As GPT-2's: a space belongs to the word behind it, and tokens are parts of characters."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet)
    backend.train_from_iterator([*LINES, "User: hello world\n\nAssistant: hello"] * 3, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|endoftext|>", split_special_tokens=True)


def _metaspace():
    """As T5's: a text begins with a space of its own, and characters are normalized first."""
    backend = Tokenizer(models.Unigram())
    backend.normalizer = normalizers.NFKC()
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    backend.decoder = decoders.Metaspace(prepend_scheme="always")
    special = ["<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(vocab_size=400, special_tokens=special, unk_token="<unk>", show_progress=False)
    backend.train_from_iterator(LINES, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>", pad_token="<pad>", unk_token="<unk>")


def _slow(folder):
    """One that does not say where in the text its tokens stand."""
    pieces = dict.fromkeys("".join(LINES) + "題名本文：hello world包丁選方")
    rows = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *pieces, *(f"##{piece}" for piece in pieces)]
    (folder / "vocab.txt").write_text("\n".join(row for row in rows if row.strip()), encoding="utf-8")
    return BertJapaneseTokenizer(
        str(folder / "vocab.txt"), word_tokenizer_type="basic", subword_tokenizer_type="character", do_lower_case=False
    )


@pytest.fixture(scope="module", params=["world", "unigram", "bpe", "byte_level", "metaspace", "slow"])
def tokenizer(request, tmp_path_factory):
    makers = {"world": WorldTokenizer, "byte_level": _byte_level, "metaspace": _metaspace}
    if request.param == "slow":
        return _slow(tmp_path_factory.mktemp("slow"))
    return makers.get(request.param, lambda: _trained(request.param))()


def _read(tokenizer, template, title, limit):
    """Ids of a prompt, and how much of the title is in it: found by trying every beginning of it."""
    encoder = PromptEncoder(tokenizer, template, limit)
    ids = encoder.encode(title)
    assert len(ids) <= encoder.max_tokens
    before, after = template.split("{input}")
    return ids, [n for n in range(len(title) + 1) if encode_text(tokenizer, before + title[:n] + after) == ids]


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_prompt_is_encoded_as_one_string(tokenizer, template):
    for title in TITLES:
        ids, _ = _read(tokenizer, template, title, 400)
        assert ids == encode_text(tokenizer, template.replace("{input}", title))


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("limit", [4, 5, 11])
def test_a_cut_input_is_a_beginning_of_whole_characters_within_the_limit(tokenizer, template, limit):
    for title in TITLES:
        _, kept = _read(tokenizer, template, title, limit)
        lengths = [len(encode_text(tokenizer, title[:n])) for n in kept]
        assert kept, f"{title!r} is not read as one of its beginnings"
        assert min(lengths) <= limit
        if len(encode_text(tokenizer, title)) <= limit:
            assert len(title) in kept
        else:
            assert max(kept) > 0


@settings(max_examples=60, deadline=None)
@given(
    title=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20),
    limit=st.integers(1, 12),
    template=st.sampled_from(TEMPLATES),
)
@example("𠮷", 3, "{input}")
@example("  a", 1, "\n{input}")
def test_any_input_is_read_as_a_beginning_of_it_or_refused(tokenizer, title, limit, template):
    try:
        _, kept = _read(tokenizer, template, title, limit)
    except TsumugiError as error:
        assert "hold not even the first character" in str(error)
        assert len(encode_text(tokenizer, title[:1])) > 1 or len(encode_text(tokenizer, template + title[:1])) > 1
    else:
        assert kept


def test_world_tokens_reach_over_the_seams_of_a_template():
    tokenizer = WorldTokenizer()
    ids = PromptEncoder(tokenizer, "題名：{input}\n\n本文：", 64).encode("包丁の選び方。")
    assert [tokenizer.decode([id_]) for id_ in ids][-5:] == ["。\n", "\n", "本", "文", "："]
    ids = PromptEncoder(tokenizer, "User: {input}\n\nAssistant:", 64).encode("hello")
    assert [tokenizer.decode([id_]) for id_ in ids][:3] == ["User", ":", " hello"]
