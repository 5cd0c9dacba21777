"""What stands around a text: the tokens that begin, end and pad it, as the publisher of a tokenizer wants them."""

import pytest
from tokenizers import processors

from published_models import (
    LAYOUTS,
    bpe_of,
    edit_json,
    llama_spiece,
)
from tokenization_corpus import documents, split_of, write_corpus
from tsumugi.evaluation.ngrams import NgramModel
from tsumugi.tokenization.boundaries import start_id
from tsumugi.tokenization.encode_shard import ENCODED_SPLITS, encode_shard
from tsumugi.tokenization.encoding import encode_documents
from tsumugi.tokenization.loading import load_tokenizer
from tsumugi.tokenization.prompts import encode_text, model_input


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
    edit_json(folder / "tokenizer_config.json", add_bos_token=False)
    tokenizer = load_tokenizer(str(folder))
    assert start_id(tokenizer) == tokenizer.eos_token_id != tokenizer.bos_token_id


@pytest.mark.parametrize("with_bos", [True, False])
def test_a_beginning_token_is_heard_beside_tokenizer_json(taken, with_bos, tmp_path):
    folder = taken("llama")
    (folder / "tokenizer.model").unlink()
    backend = bpe_of(llama_spiece())
    if not with_bos:
        backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    backend.save(str(folder / "tokenizer.json"))
    edit_json(folder / "tokenizer_config.json", add_bos_token=with_bos)
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
    assert counts.keys() == set(ENCODED_SPLITS)
    for split, count in counts.items():
        texts = [row["text"] for row in rows if split_of(row["id"]) == split]
        unknown = sum(encode_text(tokenizer, text).count(tokenizer.unk_token_id) for text in texts)
        assert count["unknown"] == unknown
        assert unknown == 0 if layout in ("gpt2", "llama") else unknown >= len(texts) > 0, "the first two have bytes"


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
