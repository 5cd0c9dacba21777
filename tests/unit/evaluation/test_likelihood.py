"""Bits of a text: batches change nothing, and a plain computation gives the same."""

import math

import numpy as np
import pytest
import torch

from tiny_models import ALPHABET, KINDS, make_model, make_tokenizer
from tsumugi.evaluation.likelihood import bits_of_outputs
from tsumugi.evaluation.score_likelihood import score_titles, summarize_titles
from tsumugi.generation.evaluation_pairs import Pair
from tsumugi.tokenization.prompts import encode_text, model_input


def make_texts(count, longest, seed):
    generator = np.random.default_rng(seed)
    return ["".join(generator.choice(list(ALPHABET), size=generator.integers(1, longest))) for _ in range(count)]


def plain_bits(model, tokenizer, prompt, output):
    """One token after the other: read everything before it, take its probability."""
    reads, bits = model_input(prompt, tokenizer, model.config.is_encoder_decoder), 0.0
    for place, token in enumerate(output):
        with torch.no_grad():
            if model.config.is_encoder_decoder:
                started = torch.tensor([[model.config.decoder_start_token_id, *output[:place]]])
                logits = model(input_ids=torch.tensor([reads]), decoder_input_ids=started).logits
            else:
                logits = model(input_ids=torch.tensor([reads + output[:place]])).logits
        bits -= math.log2(torch.softmax(logits[0, -1].double(), dim=-1)[token])
    return bits


@pytest.mark.parametrize("kind", KINDS)
def test_batched_equals_plain(kind):
    model, tokenizer = make_model(kind), make_tokenizer()
    prompts = [encode_text(tokenizer, text) for text in make_texts(6, 8, 0)]
    outputs = [encode_text(tokenizer, text) for text in make_texts(6, 20, 1)]
    outputs[2] = []
    expected = [plain_bits(model, tokenizer, *pair) for pair in zip(prompts, outputs, strict=True)]
    for micro_batch in (1, 4):
        found = bits_of_outputs(model, tokenizer, prompts, outputs, micro_batch)
        assert found.tolist() == pytest.approx(expected, rel=2e-5)
    assert found[2] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_an_uninformed_model_spends_the_logarithm_of_the_vocabulary(kind):
    model, tokenizer = make_model(kind), make_tokenizer()
    with torch.no_grad():
        model.get_output_embeddings().weight.zero_()
    found = bits_of_outputs(model, tokenizer, [[5]], [[6, 7, 8]], 4)
    assert found[0] == pytest.approx(3 * math.log2(len(tokenizer)), rel=1e-6)


def make_pairs(tokenizer, categories):
    titles = make_texts(len(categories), 8, 2)
    return [
        Pair(f"id{i}", title, category, encode_text(tokenizer, title), [])
        for i, (title, category) in enumerate(zip(titles, categories, strict=True))
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_the_three_titles(kind):
    model, tokenizer = make_model(kind), make_tokenizer()
    pairs = make_pairs(tokenizer, ["man", "help", "man", None, "guide"])
    references = make_texts(5, 30, 3)
    table, counts = score_titles(model, tokenizer, pairs, references, 10, 0, 2)
    outputs = [encode_text(tokenizer, reference[:10]) for reference in references]
    own = [plain_bits(model, tokenizer, pair.prompt, output) for pair, output in zip(pairs, outputs, strict=True)]
    assert table["bits_own"].to_pylist() == pytest.approx(own, rel=2e-5)
    assert table["bytes"].to_pylist() == [len(reference[:10].encode()) for reference in references]
    assert counts == {"tokens": sum(map(len, outputs)), "unknown_tokens": 0}
    swapped = [plain_bits(model, tokenizer, pairs[2 - i].prompt, outputs[i]) for i in (0, 2)]
    same = table["bits_same_category"].to_pylist()
    assert [same[0], same[2]] == pytest.approx(swapped, rel=2e-5)
    assert [same[1], same[3], same[4]] == [None] * 3
    assert all(a != b for a, b in zip(table["bits_own"].to_pylist(), table["bits_other"].to_pylist(), strict=True))

    summary = summarize_titles(table, 200, 0)
    size = sum(table["bytes"].to_pylist())
    gain = (sum(table["bits_other"].to_pylist()) - sum(own)) / size
    assert summary["bits_per_byte_own"]["value"] == pytest.approx(sum(own) / size, rel=2e-5)
    assert summary["title_gain"]["value"] == pytest.approx(gain, rel=1e-3)
    assert summary["title_gain_same_category"]["documents"] == 2


def test_one_document_and_an_empty_one():
    model, tokenizer = make_model("gpt2"), make_tokenizer()
    table, _ = score_titles(model, tokenizer, make_pairs(tokenizer, ["man"]), ["あいう"], 10, 0, 2)
    summary = summarize_titles(table, 50, 0)
    assert summary["title_gain"] == {"value": None, "low": None, "high": None, "documents": 0}
    table, _ = score_titles(model, tokenizer, make_pairs(tokenizer, ["man"] * 3), ["あいう", "", "あ漢"], 10, 0, 2)
    assert summarize_titles(table, 50, 0)["bits_per_byte_own"]["documents"] == 2


def test_unknown_tokens_are_counted():
    model, tokenizer = make_model("gpt2"), make_tokenizer()
    _, counts = score_titles(model, tokenizer, make_pairs(tokenizer, ["man"]), ["あ漢字"], 10, 0, 2)
    assert counts == {"tokens": 3, "unknown_tokens": 2}
