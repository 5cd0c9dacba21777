"""What is longer than the positions that a model has learned is refused beforehand, not by an IndexError within."""

import json
import subprocess
import sys

import pytest
import torch
import transformers
import yaml

from tiny_experiment import ROOT
from tiny_models import make_model, make_tokenizer
from tsumugi import positions
from tsumugi.config.loading import load_config
from tsumugi.errors import TsumugiError
from tsumugi.evaluation.likelihood import bits_of_outputs
from tsumugi.generation.evaluation_pairs import Pair
from tsumugi.generation.generate_text import generate_texts
from tsumugi.generation.stream import stream_text
from tsumugi.positions import learned_positions, length_error, length_warning, most_written
from tsumugi.provenance import write_manifest
from tsumugi.tokenization.indexed_dataset import IndexedDatasetWriter
from tsumugi.training.objectives import build_objective

SMALL = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
SIDES = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "vocab_size": 50}
SIDES |= {"decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "decoder_start_token_id": 0}
MODELS = {  # a class, its settings, and how many tokens it can read at all
    "gpt2": ("GPT2", {"vocab_size": 50, "n_positions": 20, "n_embd": 16, "n_layer": 1, "n_head": 2}, 20),
    "gptj": (
        "GPTJ",
        {"vocab_size": 50, "n_positions": 20, "n_embd": 16, "n_layer": 1, "n_head": 2, "rotary_dim": 4},
        20,
    ),
    "gpt_neo": (
        "GPTNeo",
        SMALL | {"num_layers": 1, "num_heads": 2, "attention_types": [[["global"], 1]], "max_position_embeddings": 20},
        20,
    ),
    "opt": ("OPT", SMALL | {"ffn_dim": 16, "word_embed_proj_dim": 16, "max_position_embeddings": 20}, 20),
    "biogpt": ("BioGpt", SMALL | {"max_position_embeddings": 20}, 20),
    "bert": ("Bert", SMALL | {"max_position_embeddings": 20}, 20),
    "electra": ("Electra", SMALL | {"embedding_size": 16, "max_position_embeddings": 20}, 20),
    "roberta": ("Roberta", SMALL | {"max_position_embeddings": 20, "pad_token_id": 1}, 18),
    "camembert": ("Camembert", SMALL | {"max_position_embeddings": 20, "pad_token_id": 3}, 16),
    "bart": ("Bart", SIDES | {"max_position_embeddings": 20}, 20),
    "marian": ("Marian", SIDES | {"max_position_embeddings": 20, "pad_token_id": 49}, 20),
    "pegasus": ("Pegasus", SIDES | {"max_position_embeddings": 20}, 20),
    "deberta-v2": ("DebertaV2", SMALL | {"max_position_embeddings": 20, "position_biased_input": True}, 20),
    "deberta-v2 without": (
        "DebertaV2",
        SMALL | {"max_position_embeddings": 20, "position_biased_input": False, "relative_attention": True},
        None,
    ),
    "llama": ("Llama", SMALL | {"max_position_embeddings": 20}, None),
    "gpt_neox": ("GPTNeoX", SMALL | {"max_position_embeddings": 20}, None),
    "xglm": (
        "XGLM",
        {"vocab_size": 50, "d_model": 16, "num_layers": 1, "attention_heads": 2, "ffn_dim": 16}
        | {"max_position_embeddings": 20},
        None,
    ),
    "t5": ("T5", {"vocab_size": 50, "d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2}, None),
}


@pytest.mark.parametrize("name", MODELS)
def test_positions_are_those_that_the_model_really_has(name):
    kind, settings, expected = MODELS[name]
    config = getattr(transformers, f"{kind}Config")(**settings)
    assert learned_positions(config.to_dict())[0] == expected
    assert learned_positions(json.loads(config.to_json_string(use_diff=True)))[0] == expected, "as in config.json"
    model = getattr(transformers, f"{kind}Model")(config).eval()

    def read(tokens):
        ids = torch.full((1, tokens), 5)
        with torch.no_grad():
            if config.is_encoder_decoder:
                model(input_ids=ids, decoder_input_ids=ids)
            else:
                model(input_ids=ids)

    read(expected or 60)
    if expected is not None:
        with pytest.raises((IndexError, RuntimeError)):
            read(expected + 1)


def test_encoders_and_decoders_have_positions_of_their_own():
    led = {"model_type": "led", "is_encoder_decoder": True}
    led |= {"max_encoder_position_embeddings": 30, "max_decoder_position_embeddings": 20}
    assert length_error(led, 30, 20) is None
    assert "31 tokens that are read are more than the 30 positions that the encoder" in length_error(led, 31, 1)
    assert "21 tokens that are written are more than the 20 positions that the decoder" in length_error(led, 1, 21)
    gpt2 = {"model_type": "gpt2", "n_positions": 20}
    both = {"model_type": "encoder-decoder", "encoder": {"model_type": "bert", "max_position_embeddings": 30}}
    assert learned_positions(both | {"decoder": gpt2}) == (30, 20)
    assert "15 tokens that are read and 6 that are written are more than the 20" in length_error(gpt2, 15, 6)
    assert length_error(gpt2, 15, 6, unread=1) is None
    assert length_error({"model_type": "gpt2"}, 10**6, 1) is None, "a size that is not told is no limit"


def test_rotary_positions_go_on_with_a_warning():
    llama = transformers.LlamaConfig(**SMALL, max_position_embeddings=20).to_dict()
    assert length_error(llama, 30, 5) is None and length_warning(llama, 15, 5) is None
    assert "warning: 16 tokens that are read and 5 that are written are more than the 20" in length_warning(
        llama, 16, 5
    )
    assert length_warning(transformers.T5Config().to_dict(), 10**6, 1) is None


@pytest.fixture
def raw(tmp_path):
    """The default experiment, with two runs on a model of 128 positions from outside."""
    raw = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    config = {"model_type": "gpt2", "n_positions": 128}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    raw["recipes"]["outside"] = raw["recipes"]["tune-rwkv"] | {"context": 128}
    start = {"init_from": str(tmp_path), "recipe": "outside"}
    raw["runs"]["more"] = start | {"objective": "causal_lm", "corpora": {"debian-docs": 1.0}}
    raw["runs"]["titles"] = {"init_from": "more", "recipe": "outside", "objective": "sft", "task": "title_to_article"}
    raw["runs"]["titles"]["prompt"] = next(iter(raw["tasks"]["title_to_article"]["prompts"]))
    raw["tasks"]["title_to_article"] |= {"max_input_tokens": 27, "max_output_tokens": 100}
    return raw


def test_a_configuration_that_needs_more_positions_is_refused(raw):
    load_config(raw)
    raw["tasks"]["title_to_article"]["max_output_tokens"] = 101
    with pytest.raises(TsumugiError, match=r"tasks\.title_to_article\.max_output_tokens: for runs\.titles, 28 tokens"):
        load_config(raw)
    raw["tasks"]["title_to_article"]["max_output_tokens"] = 100
    raw["recipes"]["outside"]["context"] = 129
    with pytest.raises(
        TsumugiError, match=r"recipes\.outside\.context: 129 tokens are more than runs\.more has places"
    ):
        load_config(raw)


def test_the_kinds_of_models_are_those_of_transformers():
    known = set(transformers.CONFIG_MAPPING.keys())
    assert {*positions._FROM_FIRST.split(), *positions._BEHIND_PADDING.split()} <= known


def test_a_model_whose_config_cannot_be_read_yet_is_left_to_its_job(raw, tmp_path):
    raw["tasks"]["title_to_article"]["max_output_tokens"] = 101
    for text in ("{", "[]", '{"model_type": "gpt2", "n_positions": "64"}', None):
        (tmp_path / "config.json").unlink()
        if text is not None:
            (tmp_path / "config.json").write_text(text, encoding="utf-8")
        load_config(raw)


def write_pairs(folder, prompts, limit):
    tokens = {"train": prompts, "dev": prompts[:1], "test": prompts}
    for split, lengths in tokens.items():
        with IndexedDatasetWriter(folder / split, 50) as writer:
            for length in lengths:
                writer.add_document([[5] * length, [6, 2]])
    write_manifest(folder / "manifest.json", kind="encode_pairs", spec={"max_output_tokens": limit})
    return [folder / "manifest.json"]


def test_pairs_that_need_more_positions_are_refused_before_training(tmp_path):
    """With the template's tokens, and with what the trained model is to write."""
    tokenizer, config = make_tokenizer(), make_model("gpt2").config
    spec = {"objective": {"kind": "sft"}, "recipe": {}, "train_on_dev": False}
    build_objective(spec, write_pairs(tmp_path, [3, 27], 100), tokenizer, config, 0)
    with pytest.raises(TsumugiError, match="29 tokens that are read and 100 that are written are more than the 128"):
        build_objective(spec, write_pairs(tmp_path, [3, 28], 100), tokenizer, config, 0)
    build_objective(spec, write_pairs(tmp_path, [3, 28], 100), tokenizer, make_model("t5").config, 0)


def test_a_prompt_that_leaves_too_few_positions_is_refused_before_writing():
    model, tokenizer = make_model("gpt2"), make_tokenizer()
    model.generation_config.eos_token_id = None
    for length, written in ((27, 101), (120, 8)):  # and the end token in front; the last token is not read
        pair = Pair("a", "", None, [5] * length, [])
        assert len(generate_texts(model, tokenizer, [pair], {}, written, 2)) == 1
        with pytest.raises(
            TsumugiError, match="positions that the model has learned; shorten the prompt, or let fewer"
        ):
            generate_texts(model, tokenizer, [pair], {}, written + 1, 2)
        with pytest.raises(
            TsumugiError, match="positions that the model has learned; shorten the prompt, or let fewer"
        ):
            list(stream_text(model, tokenizer, pair.prompt, {}, written + 1))


def test_without_a_wish_as_much_is_written_as_there_is_room_for(tmp_path):
    model, gpt2 = make_model("gpt2"), {"model_type": "gpt2", "n_positions": 128}
    assert [most_written(gpt2, read, 100) for read in (29, 30, 128, 500)] == [100, 99, 1, 1]
    assert most_written({"model_type": "rwkv"}, 500, 100) == 100
    bart = {"model_type": "bart", "is_encoder_decoder": True, "max_position_embeddings": 20}
    assert most_written(bart, 15, 100) == 20
    model.save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    line = [sys.executable, str(ROOT / "scripts/write_text.py"), "--model", str(tmp_path), "--prompt", "数式を使う"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0 and done.stdout.startswith("数式を使う"), done.stderr
    done = subprocess.run([*line, "--max-tokens", "200"], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 1 and "6 tokens that are read and 200 that are written are more" in done.stderr


def test_a_text_that_is_longer_than_the_positions_is_refused_before_scoring():
    model, tokenizer = make_model("gpt2"), make_tokenizer()
    assert bits_of_outputs(model, tokenizer, [[5] * 27], [[6] * 100], 2) > 0
    with pytest.raises(TsumugiError, match="lower scored_characters or max_input_tokens"):
        bits_of_outputs(model, tokenizer, [[5], [5] * 27], [[6], [6] * 101], 2)
