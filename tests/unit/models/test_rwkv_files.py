"""Official .pth files: read, and written back."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import T5Config, T5ForConditionalGeneration

from rwkv_models import MODELS, VOCABULARY, make_rwkv4, make_rwkv7
from tiny_models import make_tokenizer
from tsumugi.errors import TsumugiError
from tsumugi.models.rwkv_files import read_rwkv, write_rwkv

SCRIPTS = Path(__file__).parents[3] / "scripts"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("make", [*MODELS["4"][:2], *MODELS["7"][:2]])
def test_a_file_comes_back_bit_by_bit(make, dtype, tmp_path):
    write_rwkv(make(), tmp_path / "first.pth", dtype)
    model = read_rwkv(tmp_path / "first.pth")
    assert model.dtype == dtype
    write_rwkv(model, tmp_path / "second.pth")
    first, second = (torch.load(tmp_path / name, weights_only=True) for name in ("first.pth", "second.pth"))
    assert list(first) == list(second)
    for key, tensor in first.items():
        assert tensor.dtype == second[key].dtype == dtype
        assert torch.equal(tensor, second[key])


@settings(max_examples=15)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 5), st.booleans(), st.tuples(*4 * [st.integers(1, 9)]))
def test_any_sizes_are_found_from_the_shapes_alone(layers, heads, head_size, unused, ranks):
    width = heads * head_size
    names = dict(zip(("decay_rank", "rate_rank", "value_rank", "gate_rank"), ranks, strict=True))
    if layers == 1 and not unused:
        del names["value_rank"]  # nothing in the file has it
    model = make_rwkv7(width, layers, head_size, unused_value_residual=unused, intermediate_size=ranks[0], **names)
    with tempfile.TemporaryDirectory() as folder:
        write_rwkv(model, Path(folder) / "7.pth")
        again = read_rwkv(Path(folder) / "7.pth")
        write_rwkv(make_rwkv4(width, layers, intermediate_size=ranks[0]), Path(folder) / "4.pth")
        other = read_rwkv(Path(folder) / "4.pth")
    for name in ("hidden_size", "num_hidden_layers", "head_size", "intermediate_size", "unused_value_residual", *names):
        assert getattr(again.config, name) == getattr(model.config, name), name
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in model.state_dict().items())
    assert (other.config.hidden_size, other.config.num_hidden_layers) == (width, layers)
    assert other.config.intermediate_size == ranks[0]


def test_keys_and_shapes_are_the_official_ones(tmp_path):
    write_rwkv(make_rwkv4(48, 1), tmp_path / "4.pth")
    shapes = {key: tuple(value.shape) for key, value in torch.load(tmp_path / "4.pth", weights_only=True).items()}
    norm = {f"blocks.0.{name}.{part}": (48,) for name in ("ln0", "ln1", "ln2") for part in ("weight", "bias")}
    norm |= {"ln_out.weight": (48,), "ln_out.bias": (48,)}
    tables = {"emb.weight": (VOCABULARY, 48), "head.weight": (VOCABULARY, 48)}
    att = {"time_decay": (48,), "time_first": (48,)} | {f"time_mix_{x}": (1, 1, 48) for x in "kvr"}
    att |= {f"{x}.weight": (48, 48) for x in ("key", "value", "receptance", "output")}
    ffn = {"time_mix_k": (1, 1, 48), "time_mix_r": (1, 1, 48)}
    ffn |= {"key.weight": (192, 48), "receptance.weight": (48, 48), "value.weight": (48, 192)}
    layers = {
        f"blocks.0.{half}.{key}": shape for half, part in (("att", att), ("ffn", ffn)) for key, shape in part.items()
    }
    assert shapes == tables | norm | layers

    write_rwkv(make_rwkv7(48, 1, 16), tmp_path / "7.pth")
    shapes = {key: tuple(value.shape) for key, value in torch.load(tmp_path / "7.pth", weights_only=True).items()}
    vectors = ("x_r", "x_w", "x_k", "x_v", "x_a", "x_g", "w0", "a0", "v0", "k_k", "k_a")
    att = {key: (1, 1, 48) for key in vectors} | {"r_k": (3, 16)}
    att |= {f"{x}.weight": (48, 48) for x in ("key", "value", "receptance", "output")}
    att |= {f"{x}1": (48, 32) for x in "wavg"} | {f"{x}2": (32, 48) for x in "wavg"}
    att |= {"ln_x.weight": (48,), "ln_x.bias": (48,)}
    ffn = {"x_k": (1, 1, 48), "key.weight": (192, 48), "value.weight": (48, 192)}
    layers = {
        f"blocks.0.{half}.{key}": shape for half, part in (("att", att), ("ffn", ffn)) for key, shape in part.items()
    }
    assert shapes == tables | norm | layers


def test_a_model_of_a_directory_gives_the_same_logits_after_export(tmp_path):
    for make in (make_rwkv4, make_rwkv7):
        model = make()
        model.save_pretrained(tmp_path / "model")
        write_rwkv(type(model).from_pretrained(tmp_path / "model"), tmp_path / "model.pth")
        ids = torch.arange(40).unsqueeze(0)
        with torch.no_grad():
            assert torch.equal(read_rwkv(tmp_path / "model.pth")(ids).logits, model(ids).logits)


def test_tied_embeddings_stay_tied_and_are_stored_once(tmp_path):
    write_rwkv(make_rwkv7(tie_word_embeddings=True), tmp_path / "tied.pth", torch.bfloat16)
    write_rwkv(make_rwkv7(), tmp_path / "untied.pth", torch.bfloat16)
    assert (tmp_path / "untied.pth").stat().st_size - (tmp_path / "tied.pth").stat().st_size >= 2 * VOCABULARY * 64
    for dtype in (None, torch.float32):
        model = read_rwkv(tmp_path / "tied.pth", dtype)
        assert model.config.tie_word_embeddings and model.head.weight is model.rwkv.embeddings.weight
    assert not read_rwkv(tmp_path / "untied.pth").config.tie_word_embeddings


def test_the_weights_stay_in_the_file_and_training_does_not_touch_it(tmp_path):
    path = tmp_path / "model.pth"
    write_rwkv(make_rwkv4(), path)
    before = path.read_bytes()
    model = read_rwkv(path)
    assert str(path) in Path("/proc/self/maps").read_text(encoding="utf-8")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert path.read_bytes() == before
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_several_types_in_a_file_become_the_widest(tmp_path):
    path = tmp_path / "model.pth"
    write_rwkv(make_rwkv4(), path, torch.bfloat16)
    tensors = torch.load(path, weights_only=True)
    tensors["blocks.0.att.time_decay"] = tensors["blocks.0.att.time_decay"].float()
    torch.save(tensors, path)
    model = read_rwkv(path)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_files_of_the_older_torch_format_are_read_too(tmp_path):
    write_rwkv(make_rwkv4(), tmp_path / "new.pth")
    tensors = torch.load(tmp_path / "new.pth", weights_only=True)
    torch.save(tensors, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert torch.equal(read_rwkv(tmp_path / "old.pth").head.weight, tensors["head.weight"])


def test_a_file_without_checksums_is_read(tmp_path):
    path = tmp_path / "model.pth"
    torch.serialization.set_crc32_options(False)
    try:
        write_rwkv(make_rwkv4(), path)
    finally:
        torch.serialization.set_crc32_options(True)
    assert torch.equal(read_rwkv(path).head.weight, make_rwkv4().head.weight)


@pytest.mark.parametrize("inner", [16, 48])
def test_rwkv4_with_another_width_of_attention_writes_as_it_reads(inner, tmp_path):
    """RWKV-LM's ``dim_att``. The rwkv package, the other tests' oracle, reads no sequences with such a model."""
    write_rwkv(make_rwkv4(32, 2, attention_hidden_size=inner, intermediate_size=40), tmp_path / "model.pth")
    model = read_rwkv(tmp_path / "model.pth")
    assert (model.config.attention_hidden_size, model.config.intermediate_size) == (inner, 40)
    ids = torch.arange(24).view(2, 12)
    with torch.no_grad():
        whole = model(ids).logits
        begun = model(ids[:, :5], use_cache=True)
        rest = model(ids[:, 5:], state=begun.state).logits
        written = model.generate(ids, attention_mask=torch.ones(2, 12), max_new_tokens=4, do_sample=False)
        again = model(written[:, :-1]).logits[:, 11:].argmax(dim=-1)
    assert torch.allclose(torch.cat([begun.logits, rest], dim=1), whole, atol=1e-5)
    assert torch.equal(written[:, 12:], again)
    with pytest.raises(TsumugiError, match="the state does not fit this RWKV-4 model and batch"):
        model(ids[:1], state=begun.state)


def test_a_tokenizer_must_fit_and_gives_its_special_ids(tmp_path):
    write_rwkv(make_rwkv7(), tmp_path / "model.pth")
    tokenizer = make_tokenizer()
    config = read_rwkv(tmp_path / "model.pth", tokenizer=tokenizer).config
    assert (config.pad_token_id, config.bos_token_id, config.eos_token_id) == (0, 1, 2)
    config = read_rwkv(tmp_path / "model.pth").config
    assert (config.pad_token_id, config.bos_token_id, config.eos_token_id) == (0, 0, 0)
    tokenizer.add_tokens([f"<{number}>" for number in range(VOCABULARY)])
    with pytest.raises(TsumugiError, match=rf"has {len(tokenizer)} tokens, the model a vocabulary of {VOCABULARY}"):
        read_rwkv(tmp_path / "model.pth", tokenizer=tokenizer)


def test_what_the_format_cannot_hold_is_not_written(tmp_path):
    path = tmp_path / "model.pth"
    config = T5Config(vocab_size=8, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=1, decoder_start_token_id=0)
    with pytest.raises(TsumugiError, match="this model is a T5ForConditionalGeneration"):
        write_rwkv(T5ForConditionalGeneration(config), path)
    with pytest.raises(TsumugiError, match=r"layer_norm_epsilon is 0\.01"):
        write_rwkv(make_rwkv4(layer_norm_epsilon=0.01), path)
    model = make_rwkv4()
    with torch.no_grad():
        model.head.weight[3, 4] = 1e6
    with pytest.raises(TsumugiError, match=r"head\.weight holds NaN or infinity as float16"):
        write_rwkv(model, path, torch.float16)
    assert not list(tmp_path.iterdir())


def run(script, *arguments):
    return subprocess.run(
        [sys.executable, SCRIPTS / script, *map(str, arguments)], capture_output=True, text=True, cwd=SCRIPTS.parent
    )


def test_import_and_export_from_the_command_line(tmp_path):
    write_rwkv(make_rwkv7(), tmp_path / "given.pth")
    make_tokenizer().save_pretrained(tmp_path / "tokenizer")
    folder, exported = tmp_path / "model", tmp_path / "exported.pth"
    done = run(
        "import_rwkv.py", "--file", tmp_path / "given.pth", "--output", folder, "--tokenizer", tmp_path / "tokenizer"
    )
    assert done.returncode == 0, done.stderr
    assert list(folder.glob("*.safetensors")) and not list(folder.glob("*.bin"))
    done = run("export_rwkv.py", "--model", folder, "--output", exported, "--dtype", "fp32")
    assert done.returncode == 0, done.stderr
    given, back = (torch.load(path, weights_only=True) for path in (tmp_path / "given.pth", exported))
    assert given.keys() == back.keys()
    assert all(torch.equal(given[key], back[key]) for key in given)
    done = run("export_rwkv.py", "--model", folder, "--output", exported)
    assert done.returncode == 1 and "is there already" in done.stderr
