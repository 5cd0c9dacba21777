"""Examples: what goes in, what is wanted, and that randomness is a function of (seed, draw)."""

import copy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import BertConfig, GPT2Config, PreTrainedTokenizerFast, RwkvConfig, T5Config

from tsumugi.errors import TsumugiError
from tsumugi.models.padding import IGNORE_INDEX
from tsumugi.provenance import write_manifest
from tsumugi.tokenization.indexed_dataset import IndexedDatasetWriter
from tsumugi.training.data.sampler import SampleIndex
from tsumugi.training.objectives import build_objective
from tsumugi.training.objectives.base import Example
from tsumugi.training.objectives.span_corruption import count_spans, noise_spans

LENGTH = 40
RWKV, BERT, T5 = RwkvConfig(), BertConfig(), T5Config(decoder_start_token_id=0)
CONFIGS = {"rwkv": RWKV, "t5": T5, "bert": BERT}


def corpora(folder):
    return sorted((folder / "results/tokens/numbers/words").glob("*.json"))


@pytest.fixture
def causal(token_folder, training_specs, word_tokenizer):
    return build_objective(training_specs["rwkv"], corpora(token_folder), word_tokenizer, RWKV, 1)


@pytest.fixture
def span_spec(training_specs):
    """Windows long enough for several spans."""
    spec = training_specs["t5"]
    return spec | {"recipe": spec["recipe"] | {"context": LENGTH}}


@pytest.fixture
def spans(token_folder, span_spec, word_tokenizer):
    return build_objective(span_spec, corpora(token_folder), word_tokenizer, T5, 1)


@pytest.fixture
def masked_spec(training_specs):
    spec = training_specs["bert"]
    return spec | {"recipe": spec["recipe"] | {"context": LENGTH}}


@pytest.fixture
def masked(token_folder, masked_spec, word_tokenizer):
    return build_objective(masked_spec, corpora(token_folder), word_tokenizer, BERT, 1)


def test_causal_windows_cover_the_stream_and_labels_run_one_ahead(causal):
    (size,) = causal.sizes
    windows = [causal.example(SampleIndex(0, index, 0)) for index in range(size)]
    assert all(len(window.inputs) == 16 for window in windows)
    assert all(np.array_equal(window.inputs[1:], window.labels[:-1]) for window in windows)
    stream = np.concatenate([file.tokens[: len(file.tokens)] for file in causal.train[0].files])
    lost = len(stream) - 16 * size
    assert 0 <= lost <= 16, "at most the tail of the last shard is lost"
    assert causal.lost_to_packing == pytest.approx((lost - 1) / len(stream))
    inputs = np.concatenate([window.inputs for window in windows])
    assert np.array_equal(inputs, stream[: 16 * size]), "no token twice, and over the seam between two files"
    assert np.array_equal(windows[-1].labels[-1:], stream[16 * size : 16 * size + 1])
    assert causal.dev_bytes_per_token == 3.0


def test_a_run_can_train_on_the_dev_documents_too(token_folder, training_specs, word_tokenizer):
    for name, data in (
        ("rwkv", corpora(token_folder)),
        ("tuned", [token_folder / "results/pairs/count/plain/words/manifest.json"]),
    ):
        spec = training_specs[name]
        without, both = (
            build_objective(spec | {"train_on_dev": wanted}, data, word_tokenizer, RWKV, 1) for wanted in (False, True)
        )
        assert both.sizes[0] > without.sizes[0] and both.dev_size == without.dev_size
        last = both.example(SampleIndex(0, both.sizes[0] - 1, 0))
        if name == "tuned":
            assert both.sizes[0] == without.sizes[0] + both.dev_size
            assert last.labels == both.dev_example(both.dev_size - 1).labels
        else:
            assert both.train[0].tokens == without.train[0].tokens + without.dev[0].tokens


@given(length=st.integers(2, 300), density=st.floats(0.05, 0.6), mean=st.floats(1, 8), seed=st.integers(0, 2**32))
def test_noise_spans_have_the_promised_number_of_tokens(length, density, mean, seed):
    starts, ends = noise_spans(length, density, mean, np.random.default_rng(seed))
    noise, spans = count_spans(length, density, mean)
    assert len(starts) == spans
    assert (ends - starts).sum() == noise
    assert (ends > starts).all()
    assert starts[0] > 0 and ends[-1] == length
    assert (starts[1:] > ends[:-1]).all(), "two spans never touch: they would be one"


def test_span_corruption_finds_the_sentinels_of_mt5(token_folder, span_spec, word_tokenizer):
    """They have a space in front."""
    names = word_tokenizer.backend_tokenizer.to_str().replace("<extra_id_", "\u2581<extra_id_")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(names), eos_token="</s>", unk_token="<unk>")
    found = build_objective(span_spec, corpora(token_folder), tokenizer, T5, 1)
    assert found.sentinels == word_tokenizer.convert_tokens_to_ids([f"<extra_id_{i}>" for i in range(100)])


def test_span_corruption_can_be_undone(spans):
    for index in range(20):
        example = spans.example(SampleIndex(0, index, 0))
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
    again = build_objective(span_spec, corpora(token_folder), word_tokenizer, T5, 1)
    other = build_objective(span_spec, corpora(token_folder), word_tokenizer, T5, 2)
    turns = [[spans.example(SampleIndex(0, i, turn)) for i in range(12)] for turn in (0, 1)]
    assert turns[0] == [again.example(SampleIndex(0, i, 0)) for i in range(12)]
    assert turns[0] != turns[1]
    assert turns[0] != [other.example(SampleIndex(0, i, 0)) for i in range(12)]
    assert [spans.dev_example(i) for i in range(5)] == [other.dev_example(i) for i in range(5)]


def test_more_spans_than_sentinels_is_refused(token_folder, training_specs, word_tokenizer):
    spec = training_specs["t5"]
    spec = spec | {"recipe": spec["recipe"] | {"context": 4000}}
    with pytest.raises(TsumugiError, match=r"there are 100 sentinels; lower recipe\.context"):
        build_objective(spec, corpora(token_folder), word_tokenizer, T5, 1)


@pytest.mark.parametrize("encoder_decoder", [False, True])
def test_finetuning_has_its_loss_on_the_output_alone(token_folder, training_specs, word_tokenizer, encoder_decoder):
    manifest = token_folder / "results/pairs/count/plain/words/manifest.json"
    objective = build_objective(training_specs["tuned"], [manifest], word_tokenizer, T5 if encoder_decoder else RWKV, 1)
    prompt, output = objective.train[0].tolist(), objective.train[1].tolist()
    example = objective.example(SampleIndex(0, 0, 0))
    assert [label for label in example.labels if label != IGNORE_INDEX] == output
    if encoder_decoder:
        assert example.inputs == [*prompt, 2]
    else:
        assert example.inputs == [2, *prompt, *output[:-1]]
        assert len(example.inputs) == len(example.labels)


def test_a_context_longer_than_the_corpus_is_refused(token_folder, training_specs, word_tokenizer):
    spec = training_specs["rwkv"]
    spec = spec | {"recipe": spec["recipe"] | {"context": 100_000}}
    with pytest.raises(TsumugiError, match="holds fewer than 100001 tokens; lower the recipe's context"):
        build_objective(spec, corpora(token_folder), word_tokenizer, RWKV, 1)


def test_an_objective_that_does_not_fit_the_model_is_refused(token_folder, training_specs, word_tokenizer):
    with pytest.raises(TsumugiError, match="the model is an encoder-decoder"):
        build_objective(training_specs["rwkv"], corpora(token_folder), word_tokenizer, T5, 1)
    with pytest.raises(TsumugiError, match="the model has no encoder"):
        build_objective(training_specs["t5"], corpora(token_folder), word_tokenizer, RWKV, 1)


def test_the_decoder_begins_with_the_models_own_start(token_folder, training_specs, word_tokenizer):
    manifest = token_folder / "results/pairs/count/plain/words/manifest.json"
    objective = build_objective(
        training_specs["tuned"], [manifest], word_tokenizer, T5Config(decoder_start_token_id=5), 1
    )
    batch = objective.collate([objective.example(SampleIndex(0, index, 0)) for index in range(3)])
    decoder = batch.model_inputs["decoder_input_ids"]
    assert (decoder[:, 0] == 5).all()
    shifted = batch.labels[:, :-1]
    assert (decoder[:, 1:][shifted != IGNORE_INDEX] == shifted[shifted != IGNORE_INDEX]).all()
    assert (decoder[:, 1:][shifted == IGNORE_INDEX] == 0).all()


def test_masking_hides_a_share_of_the_ordinary_tokens_and_asks_for_them(masked, word_tokenizer):
    special = set(word_tokenizer.all_special_ids)
    fates = {"masked": 0, "kept": 0, "random": 0}
    for turn in range(30):
        for index in range(masked.sizes[0]):
            window = masked.train[0][index][:LENGTH]
            example = masked.example(SampleIndex(0, index, turn))
            chosen = example.labels != IGNORE_INDEX
            ordinary = np.array([token not in special for token in window])
            assert chosen.sum() == round(0.15 * ordinary.sum()) and not (chosen & ~ordinary).any()
            assert np.array_equal(example.labels[chosen], window[chosen])
            assert np.array_equal(example.inputs[~chosen], window[~chosen])
            shown = example.inputs[chosen]
            fates["masked"] += int((shown == word_tokenizer.mask_token_id).sum())
            fates["kept"] += int((shown == window[chosen]).sum())
            others = shown[(shown != word_tokenizer.mask_token_id) & (shown != window[chosen])]
            fates["random"] += len(others)
            assert not special & set(others.tolist())
    total = sum(fates.values())
    assert total > 3000
    for fate, share in {"masked": 0.8, "kept": 0.1 + 0.1 / 93, "random": 0.1 - 0.1 / 93}.items():
        assert abs(fates[fate] / total - share) < 0.03, fate


def test_masks_depend_on_seed_and_turn_but_not_on_anything_else(masked, token_folder, masked_spec, word_tokenizer):
    def inputs(objective, turn):
        return [objective.example(SampleIndex(0, index, turn)).inputs.tolist() for index in range(12)]

    again = build_objective(masked_spec, corpora(token_folder), word_tokenizer, BERT, 1)
    other = build_objective(masked_spec, corpora(token_folder), word_tokenizer, BERT, 2)
    assert inputs(masked, 0) == inputs(again, 0)
    assert inputs(masked, 0) != inputs(masked, 1)
    assert inputs(masked, 0) != inputs(other, 0)
    for index in range(5):
        assert masked.dev_example(index).inputs.tolist() == other.dev_example(index).inputs.tolist()


def test_masked_windows_stand_between_cls_and_sep(token_folder, masked_spec, word_tokenizer):
    framed = copy.deepcopy(word_tokenizer)
    framed.cls_token, framed.sep_token = "[CLS]", "[SEP]"
    objective = build_objective(masked_spec, corpora(token_folder), framed, BERT, 1)
    example = objective.example(SampleIndex(0, 3, 0))
    assert len(example.inputs) == LENGTH
    assert (example.inputs[0], example.inputs[-1]) == (framed.cls_token_id, framed.sep_token_id) == (4, 5)
    assert example.labels[0] == example.labels[-1] == IGNORE_INDEX
    short = masked_spec | {"recipe": masked_spec["recipe"] | {"context": 2}}
    with pytest.raises(TsumugiError, match=r"recipe\.context is 2, which \[CLS\] and \[SEP\] fill"):
        build_objective(short, corpora(token_folder), framed, BERT, 1)


def test_masked_batches_say_where_they_are_padded(masked):
    examples = [masked.example(SampleIndex(0, index, 0)) for index in range(2)]
    shorter = Example(examples[0].inputs[:30], examples[0].labels[:30])
    batch = masked.collate([shorter, examples[1]])
    assert batch.model_inputs["attention_mask"].sum(1).tolist() == [30, LENGTH]
    assert (batch.labels[0, 30:] == IGNORE_INDEX).all() and (batch.model_inputs["input_ids"][0, 30:] == 0).all()


def test_masking_needs_a_mask_token(token_folder, masked_spec, word_tokenizer):
    without = copy.deepcopy(word_tokenizer)
    without.mask_token = None
    with pytest.raises(TsumugiError, match="the tokenizer has no mask token; set mask_token"):
        build_objective(masked_spec, corpora(token_folder), without, BERT, 1)


def test_a_model_that_cannot_do_it_is_refused(token_folder, training_specs, masked_spec, word_tokenizer):
    def refused(spec, config):
        with pytest.raises(TsumugiError) as error:
            build_objective(spec, corpora(token_folder), word_tokenizer, config, 1)
        return str(error.value)

    assert "needs an encoder such as BERT, and the model is a gpt2" in refused(masked_spec, GPT2Config())
    assert "an encoder that sees every token" in refused(training_specs["rwkv"], BertConfig())
    assert "40 tokens are more than the 32" in refused(masked_spec, BertConfig(max_position_embeddings=32))
    assert "is an encoder-decoder" in refused(training_specs["rwkv"], T5)
    assert "the model is a t5" in refused(masked_spec, T5)
    assert "has no decoder_start_token_id" in refused(training_specs["t5"], T5Config())


def write_tokens(folder, vocab_size, train, dev):
    """Token files of one shard, and their manifest."""
    for split, rows in (("train", train), ("dev", dev)):
        (folder / "t/numbers/words" / split).mkdir(parents=True, exist_ok=True)
        with IndexedDatasetWriter(folder / "t/numbers/words" / split / "00000", vocab_size) as writer:
            for row in rows:
                writer.add_document([row])
    manifest = folder / "t/numbers/words/00000.json"
    counts = {split: {"tokens": sum(map(len, rows)), "bytes": 9} for split, rows in (("train", train), ("dev", dev))}
    write_manifest(manifest, kind="encode_shard", spec={}, results=counts)
    return [manifest]


@pytest.mark.parametrize("vocab_size", [1000, 100_000], ids=["uint16", "int32"])
@pytest.mark.parametrize("name", ["rwkv", "t5", "bert"])
def test_an_id_beyond_the_vocabulary_names_file_id_and_position(
    tmp_path, training_specs, word_tokenizer, name, vocab_size
):
    rows = [[110] * 50, [*[111] * 7, 777, *[111] * 40]]
    data = write_tokens(tmp_path, vocab_size, rows, [])
    objective = build_objective(training_specs[name], data, word_tokenizer, CONFIGS[name], 1)
    objective.example(SampleIndex(0, 0, 0))
    with pytest.raises(TsumugiError, match=r"00000\.bin: the token at position 57 has the id 777, .* has 200 ids"):
        objective.example(SampleIndex(0, 3, 0))


def test_ids_of_pairs_are_checked_against_the_models_vocabulary_too(token_folder, training_specs, word_tokenizer):
    manifest = token_folder / "results/pairs/count/plain/words/manifest.json"
    small = GPT2Config(vocab_size=108)  # fewer than the tokenizer has
    objective = build_objective(training_specs["tuned"], [manifest], word_tokenizer, small, 1)
    with pytest.raises(TsumugiError, match=r"words/train\.bin: the token at position \d+ has the id .* has 108 ids"):
        for index in range(objective.sizes[0]):
            objective.example(SampleIndex(0, index, 0))


@pytest.mark.parametrize("name", ["rwkv", "t5", "bert"])
def test_an_empty_dev_split_is_allowed_and_an_empty_train_split_is_not(tmp_path, training_specs, word_tokenizer, name):
    data = write_tokens(tmp_path, 200, [[110] * 50], [])
    objective = build_objective(training_specs[name], data, word_tokenizer, CONFIGS[name], 1)
    assert (objective.sizes, objective.dev_size) == ([3], 0)
    assert objective.dev_bytes_per_token is None
    data = write_tokens(tmp_path / "other", 200, [], [[110] * 50])
    with pytest.raises(TsumugiError, match="the train split of numbers holds fewer than 17 tokens"):
        build_objective(training_specs[name], data, word_tokenizer, CONFIGS[name], 1)


def test_pairs_may_lack_a_dev_split_but_no_train_split(tmp_path, training_specs, word_tokenizer):
    def write(split, number):
        with IndexedDatasetWriter(tmp_path / split, 200) as writer:
            for _ in range(number):
                writer.add_document([[110], [111, 2]])

    manifest = tmp_path / "manifest.json"
    write_manifest(manifest, kind="encode_pairs", spec={})
    write("train", 2)
    write("dev", 0)
    assert build_objective(training_specs["tuned"], [manifest], word_tokenizer, RWKV, 1).dev_size == 0
    write("train", 0)
    with pytest.raises(TsumugiError, match=r"train\.bin: there are no pairs to train on"):
        build_objective(training_specs["tuned"], [manifest], word_tokenizer, RWKV, 1)
