"""Examples: what goes in, what is wanted, and that randomness is a function of (seed, draw)."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tsumugi.errors import TsumugiError
from tsumugi.training.objectives import build_objective
from tsumugi.training.objectives.base import IGNORED
from tsumugi.training.objectives.span_corruption import count_spans, noise_spans
from tsumugi.training.sampler import Draw

LENGTH = 40


def corpora(folder):
    return sorted((folder / "results/tokens/numbers/words").glob("*.json"))


@pytest.fixture
def causal(token_folder, training_specs, word_tokenizer):
    return build_objective(training_specs["rwkv"], corpora(token_folder), word_tokenizer, None, 1)


@pytest.fixture
def span_spec(training_specs):
    """Windows long enough for several spans."""
    spec = training_specs["t5"]
    return spec | {"recipe": spec["recipe"] | {"context": LENGTH}}


@pytest.fixture
def spans(token_folder, span_spec, word_tokenizer):
    return build_objective(span_spec, corpora(token_folder), word_tokenizer, 0, 1)


def test_causal_windows_cover_the_stream_and_labels_run_one_ahead(causal):
    (size,) = causal.sizes
    windows = [causal.example(Draw(0, index, 0)) for index in range(size)]
    assert all(len(window.inputs) == 16 for window in windows)
    assert all(np.array_equal(window.inputs[1:], window.labels[:-1]) for window in windows)
    stream = np.concatenate([file.tokens[: len(file.tokens)] for file in causal.train[0].files])
    lost = len(stream) - 16 * size
    assert 0 <= lost <= 2 * 16, "at most the tail of each of the two shards is lost"
    assert causal.dev_bytes_per_token == 3.0


@given(length=st.integers(2, 300), density=st.floats(0.05, 0.6), mean=st.floats(1, 8), seed=st.integers(0, 2**32))
def test_noise_spans_have_the_promised_number_of_tokens(length, density, mean, seed):
    starts, ends = noise_spans(length, density, mean, np.random.default_rng(seed))
    noise, spans = count_spans(length, density, mean)
    assert len(starts) == spans
    assert (ends - starts).sum() == noise
    assert (ends > starts).all()
    assert starts[0] > 0 and ends[-1] == length
    assert (starts[1:] > ends[:-1]).all(), "two spans never touch: they would be one"


def test_span_corruption_can_be_undone(spans):
    for index in range(20):
        example = spans.example(Draw(0, index, 0))
        original = spans.train[0][index][:LENGTH].tolist()
        assert example.inputs[-1] == example.labels[-1] == 2
        hidden: dict[int, list[int]] = {}
        for token in example.labels[:-1]:
            if 7 <= token < 107:
                hidden[token] = []
            else:
                hidden[list(hidden)[-1]].append(token)
        assert list(hidden) == list(range(7, 7 + len(hidden))), "sentinels in order"
        restored = [kept for token in example.inputs[:-1] for kept in hidden.get(token, [token])]
        assert restored == original


def test_noise_depends_on_seed_and_turn_but_not_on_anything_else(spans, token_folder, span_spec, word_tokenizer):
    again = build_objective(span_spec, corpora(token_folder), word_tokenizer, 0, 1)
    other = build_objective(span_spec, corpora(token_folder), word_tokenizer, 0, 2)
    turns = [[spans.example(Draw(0, i, turn)) for i in range(12)] for turn in (0, 1)]
    assert turns[0] == [again.example(Draw(0, i, 0)) for i in range(12)]
    assert turns[0] != turns[1]
    assert turns[0] != [other.example(Draw(0, i, 0)) for i in range(12)]
    assert [spans.dev_example(i) for i in range(5)] == [other.dev_example(i) for i in range(5)]


def test_more_spans_than_sentinels_is_refused(token_folder, training_specs, word_tokenizer):
    spec = training_specs["t5"]
    spec = spec | {"recipe": spec["recipe"] | {"context": 4000}}
    with pytest.raises(TsumugiError, match=r"there are 100 sentinels; lower recipe\.context"):
        build_objective(spec, corpora(token_folder), word_tokenizer, 0, 1)


@pytest.mark.parametrize("encoder_decoder", [False, True])
def test_finetuning_has_its_loss_on_the_output_alone(token_folder, training_specs, word_tokenizer, encoder_decoder):
    manifest = token_folder / "results/pairs/count/plain/words/manifest.json"
    objective = build_objective(training_specs["tuned"], [manifest], word_tokenizer, 0 if encoder_decoder else None, 1)
    prompt, output = objective.train[0].tolist(), objective.train[1].tolist()
    example = objective.example(Draw(0, 0, 0))
    assert [label for label in example.labels if label != IGNORED] == output
    if encoder_decoder:
        assert example.inputs == [*prompt, 2]
    else:
        assert example.inputs == [2, *prompt, *output[:-1]]
        assert len(example.inputs) == len(example.labels)


def test_a_context_longer_than_the_corpus_is_refused(token_folder, training_specs, word_tokenizer):
    spec = training_specs["rwkv"]
    spec = spec | {"recipe": spec["recipe"] | {"context": 100_000}}
    with pytest.raises(TsumugiError, match="holds fewer than 100001 tokens; lower the recipe's context"):
        build_objective(spec, corpora(token_folder), word_tokenizer, None, 1)


def test_an_objective_that_does_not_fit_the_model_is_refused(token_folder, training_specs, word_tokenizer):
    with pytest.raises(TsumugiError, match="the model is an encoder-decoder"):
        build_objective(training_specs["rwkv"], corpora(token_folder), word_tokenizer, 0, 1)
    with pytest.raises(TsumugiError, match="the model has no encoder"):
        build_objective(training_specs["t5"], corpora(token_folder), word_tokenizer, None, 1)


def test_the_decoder_begins_with_the_models_own_start(token_folder, training_specs, word_tokenizer):
    manifest = token_folder / "results/pairs/count/plain/words/manifest.json"
    objective = build_objective(training_specs["tuned"], [manifest], word_tokenizer, 5, 1)
    batch = objective.collate([objective.example(Draw(0, index, 0)) for index in range(3)])
    decoder = batch.model_inputs["decoder_input_ids"]
    assert (decoder[:, 0] == 5).all()
    shifted = batch.labels[:, :-1]
    assert (decoder[:, 1:][shifted != IGNORED] == shifted[shifted != IGNORED]).all()
    assert (decoder[:, 1:][shifted == IGNORED] == 0).all()
