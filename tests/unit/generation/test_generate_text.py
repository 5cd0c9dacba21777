"""Generation: batches change nothing, texts stop where they should, sampling follows the distribution."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from transformers import LogitsProcessorList

from tiny_models import ALPHABET, KINDS, make_model, make_tokenizer
from tsumugi.config.experiment import Decoding
from tsumugi.errors import TsumugiError
from tsumugi.generation.batches import by_length
from tsumugi.generation.evaluation_pairs import Pair, read_field, read_test_pairs
from tsumugi.generation.generate_text import generate_texts
from tsumugi.generation.records import read_records, write_records
from tsumugi.generation.token_sampling import DrawFromUniform, processors, uniforms_for
from tsumugi.models.padding import attention_mask, pad
from tsumugi.tokenization.indexed_dataset import IndexedDatasetWriter
from tsumugi.tokenization.prompts import encode_text, model_input

GREEDY = {"do_sample": False}
SAMPLED = {"do_sample": True, "temperature": 0.8, "top_p": 0.9, "repetition_penalty": 1.2, "seed": 3}


def make_pairs(count=5):
    generator = np.random.default_rng(0)
    tokenizer = make_tokenizer()
    titles = ["".join(generator.choice(list(ALPHABET[:-1]), size=generator.integers(1, 9))) for _ in range(count)]
    return [Pair(f"id{i}", title, None, encode_text(tokenizer, title), []) for i, title in enumerate(titles)]


def one_by_one(model, tokenizer, pair, steps):
    """Greedy decoding by definition: the whole text is read again for every token."""
    eos = tokenizer.eos_token_id
    reads = model_input(pair.prompt, tokenizer, model.config.is_encoder_decoder)
    written = []
    while len(written) < steps and eos not in written:
        with torch.no_grad():
            if model.config.is_encoder_decoder:
                logits = model(input_ids=torch.tensor([reads]), decoder_input_ids=torch.tensor([[0, *written]])).logits
            else:
                logits = model(input_ids=torch.tensor([reads + written])).logits
        scores = logits[0, -1]
        scores[tokenizer.pad_token_id] = -torch.inf
        written.append(int(scores.argmax()))
    return written


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_equals_the_definition_for_every_batch(kind):
    model, tokenizer, pairs = make_model(kind), make_tokenizer(), make_pairs()
    expected = [one_by_one(model, tokenizer, pair, 8) for pair in pairs]
    for micro_batch in (1, 3):
        found = generate_texts(model, tokenizer, pairs, GREEDY, 8, micro_batch)
        assert [one.text for one in found] == [tokenizer.decode(ids, skip_special_tokens=True) for ids in expected]
        assert [one.tokens for one in found] == [len(ids) for ids in expected]
        assert all(one.seconds > 0 for one in found)


@pytest.mark.parametrize("kind", KINDS)
def test_sampling_depends_on_the_seed_and_the_document_alone(kind):
    model, tokenizer, pairs = make_model(kind), make_tokenizer(), make_pairs()
    texts = [one.text for one in generate_texts(model, tokenizer, pairs, SAMPLED, 8, 3)]
    for micro_batch in (1, 5):
        assert [one.text for one in generate_texts(model, tokenizer, pairs, SAMPLED, 8, micro_batch)] == texts
    backwards = generate_texts(model, tokenizer, pairs[::-1], SAMPLED, 8, 3)
    assert [one.text for one in backwards][::-1] == texts
    assert [one.text for one in generate_texts(model, tokenizer, pairs, SAMPLED | {"seed": 4}, 8, 3)] != texts


def test_what_a_downloaded_model_brought_along_decides_nothing():
    model, tokenizer, pairs = make_model("t5"), make_tokenizer(), make_pairs()
    expected = [one.text for one in generate_texts(model, tokenizer, pairs, GREEDY, 12, 4)]
    model.generation_config.num_beams = 3
    model.generation_config.min_new_tokens = 9
    model.generation_config.no_repeat_ngram_size = 1
    assert [one.text for one in generate_texts(model, tokenizer, pairs, GREEDY, 12, 4)] == expected


def test_an_end_mark_at_once_is_an_empty_text():
    model, tokenizer, pairs = make_model("gpt2"), make_tokenizer(), make_pairs(3)
    with torch.no_grad():
        model.transformer.ln_f.weight.zero_()
        model.transformer.ln_f.bias.copy_(model.lm_head.weight[2] * 10)
    found = generate_texts(model, tokenizer, pairs, GREEDY, 12, 2)
    assert [(one.text, one.tokens) for one in found] == [("", 1)] * 3


def test_draws_follow_the_distribution():
    scores = torch.log(torch.tensor([[0.1, 0.0, 0.6, 0.3]])).repeat(20_000, 1)
    uniforms = torch.from_numpy(np.random.default_rng(0).random((20_000, 1)))
    drawn = DrawFromUniform(uniforms, 5)(torch.zeros(20_000, 5, dtype=torch.int64), scores).argmax(dim=-1)
    assert (torch.bincount(drawn, minlength=4) / 20_000).tolist() == pytest.approx([0.1, 0, 0.6, 0.3], abs=0.015)
    edge = DrawFromUniform(torch.tensor([[0.0], [1 - 2**-53]], dtype=torch.float64), 5)
    assert edge(torch.zeros(2, 5, dtype=torch.int64), scores[:2]).argmax(dim=-1).tolist() == [0, 3]


def test_uniforms_are_fixed_by_seed_and_id():
    both = uniforms_for(["a", "b"], 1, 4)
    assert torch.equal(both[1], uniforms_for(["b"], 1, 4)[0])
    assert not torch.equal(both[0], both[1])
    assert not torch.equal(both, uniforms_for(["a", "b"], 2, 4))


def test_the_repetition_penalty_leaves_the_prompt_alone():
    chain = processors(Decoding(repetition_penalty=2.0), ["a"], 4, 3, [0], [], "cpu")
    assert isinstance(chain, LogitsProcessorList)
    scores = chain(torch.tensor([[2, 5, 6, 7]]), torch.ones(1, 9))[0]  # 2, 5, 6 are read, 7 was written
    assert scores.tolist() == [-torch.inf, 1, 1, 1, 1, 1, 1, 0.5, 1]


def test_padding():
    assert pad([[1, 2], [3]], 9).tolist() == [[1, 2], [3, 9]]
    assert pad([[1, 2], [], [3]], 9, left=True).tolist() == [[1, 2], [9, 9], [9, 3]]
    assert attention_mask([[1, 2], [3]], left=True).tolist() == [[1, 1], [0, 1]]
    assert list(by_length([3, 9, 3, 1], 2)) == [[1, 0], [2, 3]]


def write_pairs(folder, rows):
    with IndexedDatasetWriter(folder / "test", 50) as writer:
        for row in rows:
            writer.add_document([row["prompt"], row["target"]])
    columns = {key: [row[key] for row in rows] for key in ("id", "title", "category")}
    pq.write_table(pa.table(columns), folder / "test.parquet")


def test_pairs_are_read_in_order(tmp_path):
    rows = [
        {"id": "x", "title": "数式", "category": "help", "prompt": [5, 6], "target": [7, 2]},
        {"id": "y", "title": "う", "category": None, "prompt": [8], "target": []},
    ]
    write_pairs(tmp_path, rows)
    assert read_test_pairs(tmp_path) == [Pair(**row) for row in rows]


def test_pairs_that_do_not_fit_are_refused(tmp_path):
    rows = [{"id": "x", "title": "数式", "category": None, "prompt": [5], "target": [7]}]
    write_pairs(tmp_path, rows)
    pq.write_table(pa.table({"id": ["x", "y"], "title": ["a", "b"], "category": ["c", "d"]}), tmp_path / "test.parquet")
    with pytest.raises(TsumugiError, match=r"test\.idx: 2 sequences"):
        read_test_pairs(tmp_path)


def test_an_empty_test_set_is_refused(tmp_path):
    with IndexedDatasetWriter(tmp_path / "test", 50):
        pass
    empty = pa.table({key: pa.array([], pa.string()) for key in ("id", "title", "category")})
    pq.write_table(empty, tmp_path / "test.parquet")
    with pytest.raises(TsumugiError, match="there is no test document"):
        read_test_pairs(tmp_path)


def test_references_come_from_the_shards_by_id(tmp_path):
    for number, (ids, texts) in enumerate(((["a", "b"], ["本文一", "本文二"]), (["c"], [None]))):
        pq.write_table(pa.table({"id": ids, "text": pa.array(texts, pa.string())}), tmp_path / f"{number}.parquet")
    shards = [tmp_path / "0.parquet", tmp_path / "1.parquet"]
    assert read_field(shards, ["c", "a"], "text") == ["", "本文一"]
    with pytest.raises(TsumugiError, match="the first is z"):
        read_field(shards, ["a", "z"], "text")


def test_records_survive_writing(tmp_path):
    record = {
        "id": "a", "title": "数式", "category": None, "input": "数式", "reference": "行\n行\u2028行",
        "target_characters": 3, "output": "", "tokens": 1, "seconds": 0.5,
    }  # fmt: skip
    write_records(tmp_path / "task.jsonl", [record, record])
    assert list(read_records(tmp_path / "task.jsonl")) == [record, record]
    (tmp_path / "bad.jsonl").write_text('{"id": "a"}\n')
    with pytest.raises(TsumugiError, match=r"bad\.jsonl, line 1: no title, category"):
        list(read_records(tmp_path / "bad.jsonl"))
    with pytest.raises(TsumugiError, match="cannot be read"):
        list(read_records(tmp_path / "absent.jsonl"))
