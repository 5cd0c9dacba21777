"""Official .pth files: read, written back, refused where broken; and parity with the rwkv package on the same file."""

import os
import pickle
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import make_tokenizer
from transformers import RwkvConfig, T5Config, T5ForConditionalGeneration
from tsumugi.errors import TsumugiError
from tsumugi.models.rwkv4 import Rwkv4ForCausalLM
from tsumugi.models.rwkv7 import Rwkv7Config, Rwkv7ForCausalLM
from tsumugi.models.rwkv_files import read_rwkv, write_rwkv

SCRIPTS = Path(__file__).parents[2] / "scripts"
VOCABULARY, LENGTHS, CUTS, GREEDY = 300, (1, 2, 17, 63), (1, 30, 62), 256
PACKAGE = """
import os, sys
version, *files = sys.argv[1:]
os.environ |= {"RWKV_JIT_ON": "0", "RWKV_CUDA_ON": "0", "RWKV_V7_ON": "1" if version == "7" else "0"}
import torch
torch.set_num_threads(1)
from rwkv.model import RWKV

def run(tokens, state=None):
    logits, state = model.forward(tokens, state, full_output=True)
    return logits.view(-1, logits.size(-1)), state

def steps(tokens):
    state, rows = None, []
    for token in tokens:
        logits, state = run([token], state)
        rows.append(logits)
    return torch.cat(rows)

for file in files:
    model = RWKV(file.removesuffix(".pth"), "cpu fp32")
    asked = torch.load(file + ".asked", weights_only=True)
    ids = asked["ids"].tolist()
    answer = {f"sequence {length}": run(ids[:length])[0] for length in asked["lengths"].tolist()}
    answer["steps"] = steps(ids)
    for cut in asked["cuts"].tolist():
        first, state = run(ids[:cut])
        answer[f"cut {cut}"] = torch.cat([first, run(ids[cut:], state)[0]])
    logits, state = run(ids[:9])
    written = []
    for _ in range(asked["greedy"]):
        written.append(int(logits[-1].argmax()))
        logits, state = run([written[-1]], state)
    answer["greedy"] = torch.tensor(written)
    torch.save(answer, file + ".answer")
"""


def enliven(model, seed=1):
    """Random weights everywhere: the published initialisation has zeros and ones that would hide mistakes."""
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            noise = torch.randn(tensor.shape, generator=random)
            if tensor.dim() == 2 and not name.endswith("r_k"):
                tensor.copy_(2 * noise / tensor.size(-1) ** 0.5)
            else:
                tensor.add_(0.6 * noise)
    return model.eval()


def make_rwkv4(width=48, layers=3, **settings):
    torch.manual_seed(0)
    config = RwkvConfig(vocab_size=VOCABULARY, hidden_size=width, num_hidden_layers=layers, rescale_every=0, **settings)
    return enliven(Rwkv4ForCausalLM(config))


def make_rwkv7(width=64, layers=3, head_size=16, **settings):
    torch.manual_seed(0)
    config = Rwkv7Config(VOCABULARY, width, layers, head_size, **settings)
    return enliven(Rwkv7ForCausalLM(config))


ODD = {"intermediate_size": 72, "decay_rank": 7, "rate_rank": 5, "value_rank": 3, "gate_rank": 9}
MODELS = {
    "4": [
        lambda: make_rwkv4(),
        lambda: make_rwkv4(36, 1, intermediate_size=100),
        lambda: make_rwkv4(tie_word_embeddings=True),
    ],
    "7": [
        lambda: make_rwkv7(),
        lambda: make_rwkv7(24, 4, 8, unused_value_residual=False, **ODD),
        lambda: make_rwkv7(64, 1, 64, tie_word_embeddings=True),
    ],
}


@pytest.fixture(scope="module", params=["4", "7"])
def answers(request, tmp_path_factory):
    """For every model of a version: its file, the ids, and what the rwkv package makes of them."""
    folder = tmp_path_factory.mktemp(f"rwkv{request.param}")
    ids = torch.randint(0, VOCABULARY, (max(LENGTHS),), generator=torch.Generator().manual_seed(3))
    asked = {"ids": ids, "lengths": torch.tensor(LENGTHS), "cuts": torch.tensor(CUTS), "greedy": GREEDY}
    files = []
    for number, make in enumerate(MODELS[request.param]):
        files.append(folder / f"{number}.pth")
        write_rwkv(make(), files[-1])
        torch.save(asked, f"{files[-1]}.asked")
    done = subprocess.run(
        [sys.executable, "-c", PACKAGE, request.param, *map(str, files)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return [(read_rwkv(file), ids, torch.load(f"{file}.answer", weights_only=True)) for file in files]


@torch.no_grad()
def test_logits_equal_the_rwkv_package(answers):
    for model, ids, answer in answers:
        whole = answer["steps"]
        assert whole.std() > 0.5, "weights that do little would agree by chance"
        for length in LENGTHS:
            assert torch.allclose(model(ids[None, :length]).logits[0], answer[f"sequence {length}"], atol=1e-4)
        state, rows = None, []
        for token in ids:
            output = model(token.view(1, 1), state=state)
            state = output.state
            rows.append(output.logits[0])
        assert torch.allclose(torch.cat(rows), whole, atol=1e-4)
        for cut in CUTS:
            first = model(ids[None, :cut])
            second = model(ids[None, cut:], state=first.state)
            ours = torch.cat([first.logits[0], second.logits[0]])
            assert torch.allclose(ours, answer[f"cut {cut}"], atol=1e-4)


def test_greedy_continuations_equal_the_rwkv_package(answers):
    for model, ids, answer in answers:
        written = model.generate(
            ids[None, :9], attention_mask=torch.ones(1, 9), max_new_tokens=GREEDY, do_sample=False, eos_token_id=None
        )
        assert written[0, 9:].tolist() == answer["greedy"].tolist()
        assert len(set(written[0, 9:].tolist())) > 5, "a loop of few tokens would agree by chance"


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


def change(tensors, **changes):
    """A file's tensors with some keys replaced, or removed where the new value is None."""
    return {key: value for key, value in (tensors | changes).items() if value is not None}


BROKEN = {
    "missing": (
        lambda t: change(t, **{"blocks.1.att.key.weight": None}),
        r"looks like RWKV-\d, but .*missing: blocks\.1\.att\.key\.weight$",
    ),
    "extra": (
        lambda t: change(t, **{"blocks.1.ffn.s_emb.weight": torch.zeros(2)}),
        r"looks like RWKV-\d, but .*not expected: blocks\.1\.ffn\.s_emb\.weight$",
    ),
    "misshapen": (
        lambda t: change(t, **{"blocks.2.ffn.key.weight": torch.zeros(9, 5)}),
        r"of another shape: blocks\.2\.ffn\.key\.weight \(9, 5\) instead of \(\d+, \d+\)$",
    ),
    "no embeddings": (lambda t: change(t, **{"emb.weight": None}), r"looks like RWKV-\d, but no key emb\.weight"),
    "far block": (lambda t: change(t, **{"blocks.99999.ln1.weight": torch.zeros(2)}), "names block 99999"),
    "NaN": (lambda t: change(t, **{"ln_out.bias": t["ln_out.bias"] * float("nan")}), r"ln_out\.bias holds NaN"),
    "infinity": (lambda t: change(t, **{"ln_out.bias": t["ln_out.bias"] / 0}), r"ln_out\.bias holds NaN or inf"),
    "integers": (lambda t: change(t, **{"ln_out.bias": t["ln_out.bias"].int()}), r"ln_out\.bias is of type torch\.int"),
    "RWKV-5": (
        lambda t: (
            {key.replace("r_k", "q"): t[key] for key in t if not re.search(r"\.(x|k)_|w0", key)}
            | {"blocks.0.att.ln_x.weight": torch.zeros(2), "blocks.0.att.time_decay": torch.zeros(2)}
        ),
        "looks like RWKV-5, which is not supported",
    ),
    "RWKV-6": (
        lambda t: {"emb.weight": t["emb.weight"], "blocks.0.att.time_maa_x": t["ln_out.bias"]},
        "looks like RWKV-6, which is not supported",
    ),
    "a wrapper's names": (
        lambda t: {f"module.{key}": value for key, value in t.items()},
        r"looks like RWKV-\d, but no key begins with blocks\.0; its keys are module\.",
    ),
    "no RWKV": (lambda t: {"wte.weight": torch.zeros(2, 2)}, "has no key of any RWKV; its keys are wte.weight"),
    "a trainer's checkpoint": (lambda t: {"state_dict": t, "step": 3}, "'state_dict' is a dict"),
    "one tensor": (lambda t: t["ln_out.bias"], "holds a Tensor"),
    "nothing": (lambda t: {}, "holds a dict with no weights"),
}


@pytest.mark.parametrize("make", [make_rwkv4, make_rwkv7])
@pytest.mark.parametrize("breakage", BROKEN)
def test_a_file_that_does_not_fit_is_refused_with_the_reason(make, breakage, tmp_path):
    path = tmp_path / "model.pth"
    write_rwkv(make(), path)
    damage, message = BROKEN[breakage]
    torch.save(damage(torch.load(path, weights_only=True)), path)
    with pytest.raises(TsumugiError, match=message) as caught:
        read_rwkv(path)
    assert str(path) in str(caught.value)


def test_heads_that_do_not_divide_the_width_are_named(tmp_path):
    write_rwkv(make_rwkv7(), tmp_path / "model.pth")
    tensors = torch.load(tmp_path / "model.pth", weights_only=True)
    torch.save(
        {key: torch.zeros(4, 15) if key.endswith("r_k") else value for key, value in tensors.items()},
        tmp_path / "model.pth",
    )
    with pytest.raises(TsumugiError, match=r"heads of 15 \(att\.r_k\) do not divide a width of 64"):
        read_rwkv(tmp_path / "model.pth")


class Code:
    """Unpickled without care, it would make a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("protocol", [None, 2, 4], ids=["torch.save", "pickle 2", "pickle 4"])
def test_a_pickle_with_code_in_it_is_refused_and_never_run(protocol, tmp_path):
    trap, path = tmp_path / "trap", tmp_path / "model.pth"
    content = {"emb.weight": Code(trap)}
    if protocol is None:
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content, protocol))
    with pytest.raises(TsumugiError, match="refused, nothing was run") as caught:
        read_rwkv(path)
    assert "weights_only" not in str(caught.value), "the user is told to run it all the same"
    assert not trap.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "no file of torch.save"), (b"weights, perhaps" * 9, "no file of torch.save"), (None, "its end is missing")],
    ids=["empty", "text", "truncated"],
)
def test_other_files_are_refused(content, message, tmp_path):
    path = tmp_path / "model.pth"
    write_rwkv(make_rwkv4(), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(TsumugiError, match=message):
        read_rwkv(path)
    with pytest.raises(TsumugiError, match="cannot be read"):
        read_rwkv(tmp_path / "absent.pth")


def test_a_file_whose_bytes_have_changed_is_damaged(tmp_path):
    path = tmp_path / "model.pth"
    write_rwkv(make_rwkv4(), path)
    whole = path.read_bytes()
    part = whole.index(torch.load(path, weights_only=True)["head.weight"].numpy().tobytes()[:64])
    path.write_bytes(whole[:part] + bytes(64) + whole[part + 64 :])
    with pytest.raises(TsumugiError, match=r"or is damaged .*CRC"):
        read_rwkv(path)


def test_a_file_without_checksums_is_read(tmp_path):
    path = tmp_path / "model.pth"
    torch.serialization.set_crc32_options(False)
    try:
        write_rwkv(make_rwkv4(), path)
    finally:
        torch.serialization.set_crc32_options(True)
    assert torch.equal(read_rwkv(path).head.weight, make_rwkv4().head.weight)


def test_torchs_advice_to_load_without_care_is_never_shown(tmp_path):
    path = tmp_path / "model.pth"
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)
    with pytest.raises(TsumugiError, match="it is a TorchScript file") as scripted:
        read_rwkv(path)
    write_rwkv(make_rwkv4(), tmp_path / "packed.pth")
    for mode in ("w", "w:gz"):
        with tarfile.open(path, mode) as archive:
            archive.add(tmp_path / "packed.pth", "packed.pth")
        with pytest.raises(TsumugiError, match="is a tar archive") as packed:
            read_rwkv(path)
        assert "weights_only" not in f"{scripted.value} {packed.value}"


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


def test_rwkv7_with_another_width_of_attention_is_refused_with_the_reason(tmp_path):
    write_rwkv(make_rwkv7(), tmp_path / "model.pth")
    tensors = torch.load(tmp_path / "model.pth", weights_only=True)
    wide = {key: torch.zeros(96, 64) for key in tensors if key.endswith(("att.key.weight", "att.value.weight"))}
    torch.save(tensors | wide, tmp_path / "model.pth")
    with pytest.raises(TsumugiError, match=r"RWKV-7 with 96 channels of attention \(dim_att\) beside a width of 64"):
        read_rwkv(tmp_path / "model.pth")


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
