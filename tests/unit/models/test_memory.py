"""What a large model takes: weights once and not twice, half precision where it is stored, files tensor by tensor."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from tiny_experiment import ROOT
from tiny_models import make_model, make_tokenizer
from tsumugi.generation.stream import stream_text
from tsumugi.models import build_model, load_pretrained, load_run
from tsumugi.models.adapters import example_logits
from tsumugi.models.packed_linear import packed
from tsumugi.models.runs import load_writer
from tsumugi.models.rwkv_files import DTYPES, read_rwkv, write_rwkv
from tsumugi.provenance.memory import available_memory

RWKV = {
    "rwkv4": {"kind": "rwkv4", "n_layer": 2, "n_embd": 24},
    "rwkv7": {"kind": "rwkv7", "n_layer": 2, "n_embd": 24, "head_size": 12},
}


def stored(kind, dtype, folder, tied=False):
    torch.manual_seed(0)
    model = build_model(RWKV[kind] | {"tie_embeddings": tied}, make_tokenizer())
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 2 and "time_" not in name:
                weight.normal_(0, 0.5)
    model.to(DTYPES[dtype]).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
@pytest.mark.parametrize("kind", RWKV)
def test_half_precision_weights_answer_as_in_fp32_and_stay_half(kind, dtype, tied, tmp_path):
    folder = str(stored(kind, dtype, tmp_path / "model", tied))
    wide, half = load_run(folder)[0], load_writer(folder)[0]
    expected = example_logits(wide)
    assert (example_logits(half) - expected).abs().max() <= 1e-5 * expected.abs().max()
    large = [layer.weight for layer in half.modules() if isinstance(layer, (nn.Linear, nn.Embedding))]
    assert large and {weight.dtype for weight in large} == {DTYPES[dtype]}
    small = {id(weight) for weight in half.parameters()} - {id(weight) for weight in large}
    assert {weight.dtype for weight in half.parameters() if id(weight) in small} == {torch.float32}
    decoding = {"do_sample": False}
    texts = ["".join(stream_text(m, make_tokenizer(), [4, 5, 6], decoding, 20)) for m in (wide, half)]
    assert texts[0] == texts[1]


def test_other_models_and_weights_of_several_types_become_fp32(tmp_path):
    model = make_model("gpt2").bfloat16()
    model.save_pretrained(tmp_path / "gpt2")
    make_tokenizer().save_pretrained(tmp_path / "gpt2")
    mixed = load_pretrained(str(stored("rwkv4", "bf16", tmp_path / "mixed")))[0]
    mixed.head.weight.data = mixed.head.weight.bfloat16()
    mixed.save_pretrained(tmp_path / "mixed")
    for name in ("gpt2", "mixed"):
        opened = load_writer(str(tmp_path / name))[0]
        assert {weight.dtype for weight in opened.parameters()} == {torch.float32}


def test_ordered_weights_stand_in_the_place_of_the_plain_ones():
    model = make_model("rwkv4")
    before = {name: weight.clone() for name, weight in model.state_dict().items()}

    def in_memory():
        return sum({weight.data_ptr(): weight.untyped_storage().nbytes() for weight in model.parameters()}.values())

    linear = sum(layer.weight.nbytes for layer in model.modules() if isinstance(layer, nn.Linear))
    whole = in_memory()
    with torch.inference_mode(), packed(model):
        assert in_memory() <= whole - linear + 4 * 100
    assert in_memory() == whole
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    assert not any(weight.is_inference() for weight in model.parameters()), "they can still be trained"


@pytest.mark.parametrize(
    "stored_as", ["model.safetensors", "blobs/0f3a"], ids=["a file", "a link, as in the hub's cache"]
)
def test_pages_of_a_mapped_file_are_given_back_and_read_again(tmp_path, stored_as):
    settings = RWKV["rwkv4"] | {"n_embd": 512, "tie_embeddings": False}
    torch.manual_seed(0)
    build_model(settings, make_tokenizer()).save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    if stored_as != "model.safetensors":
        (tmp_path / "blobs").mkdir()
        (tmp_path / "model.safetensors").rename(tmp_path / stored_as)
        (tmp_path / "model.safetensors").symlink_to(stored_as)
    model = load_run(tmp_path)[0]
    before = {name: weight.clone() for name, weight in model.state_dict().items()}

    def mapped():
        lines = Path("/proc/self/smaps").read_text().partition(f"{tmp_path}/{stored_as}")[2].splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Rss:"))

    linear = sum(layer.weight.nbytes for layer in model.modules() if isinstance(layer, nn.Linear))
    whole = mapped()
    assert whole > linear
    with torch.inference_mode(), packed(model):
        assert mapped() < whole - 0.9 * linear
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    again = load_run(tmp_path)[0]
    assert all(torch.equal(weight, before[name]) for name, weight in again.state_dict().items())


def test_a_table_that_is_also_the_head_stays_while_it_is_ordered():
    torch.manual_seed(0)
    model = build_model(RWKV["rwkv4"] | {"tie_embeddings": True}, make_tokenizer()).eval()
    expected = example_logits(model)
    with torch.inference_mode(), packed(model):
        assert torch.allclose(example_logits(model), expected, rtol=0, atol=1e-5 * float(expected.abs().max()))
        assert model.get_input_embeddings().weight.untyped_storage().nbytes() > 4
    assert model.head.weight is model.get_input_embeddings().weight
    assert torch.equal(example_logits(model), expected)


def test_weights_are_not_ordered_for_a_few_tokens_nor_where_memory_is_short(monkeypatch):
    model = make_model("rwkv4")
    with packed(model, tokens=5):
        assert not any("forward" in vars(layer) for layer in model.modules())
    monkeypatch.setattr("tsumugi.models.packed_linear.available_memory", lambda: 10)
    with packed(model):
        assert not any("forward" in vars(layer) for layer in model.modules())


def test_available_memory_is_that_of_this_machine():
    machine = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    total, free = (int(machine[name].split()[0]) * 1024 for name in ("MemTotal", "MemFree"))
    assert 0 < available_memory() < total
    limits = Path("/sys/fs/cgroup").glob("**/memory.max")
    if all(limit.read_text().strip() == "max" for limit in limits):
        assert available_memory() > free / 2, "in bytes, not in pages or kB"


def control_group(folder, version, limit, used, files, shared):
    """As a kernel shows it; ``files`` holds what is shared too."""
    names = {
        1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "cache 0\ntotal_cache {}\ntotal_shmem {}"),
        2: ("memory.max", "memory.current", "anon 1\nfile {}\nshmem {}"),
    }[version]
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in zip((*names[:2], "memory.stat"), (limit, used, names[2].format(files, shared)), strict=True):
        (folder / name).write_text(f"{content}\n")


@pytest.mark.parametrize(
    ("version", "mount", "line"),
    [(1, "memory", "4:cpu,memory:/job/step/task"), (2, "", "0::/job/step/task")],
)
def test_available_memory_ends_at_the_smallest_limit_of_all_groups(tmp_path, version, mount, line):
    groups = tmp_path / "sys/fs/cgroup" / mount
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9000 kB\nMemAvailable: 1000 kB\n")
    assert available_memory(tmp_path) == 1_024_000, "a kernel without control groups"
    (tmp_path / "proc/self/cgroup").write_text(f"9:name=systemd:/\n3:cpuset:/a:b\n{line}\n")
    assert available_memory(tmp_path) == 1_024_000, "none of its folders is there"
    control_group(groups / "job/step/task", version, "max" if version == 2 else 2**63 - 4096, 10, 0, 0)
    assert available_memory(tmp_path) == 1_024_000
    control_group(groups / "job", version, 500_000, 400_000, 300_000, 50_000)
    assert available_memory(tmp_path) == 350_000, "files in memory make room, shared memory does not"
    control_group(groups / "job/step", version, 100_000, 90_000, 0, 0)
    assert available_memory(tmp_path) == 10_000
    control_group(groups, version, 100_000, 95_000, 0, 0)
    assert available_memory(tmp_path) == 5_000, "as in a container"


@pytest.mark.parametrize("kind", RWKV)
def test_a_pth_is_what_torch_save_writes(kind, tmp_path):
    model = make_model(kind)
    write_rwkv(model, tmp_path / "ours.pth")
    content = torch.load(tmp_path / "ours.pth", weights_only=True)
    assert all(tensor.untyped_storage().nbytes() == tensor.nbytes for tensor in content.values())
    torch.save(content, tmp_path / "theirs.pth")
    with zipfile.ZipFile(tmp_path / "ours.pth") as ours, zipfile.ZipFile(tmp_path / "theirs.pth") as theirs:
        assert ours.testzip() is None
        roots = [archive.namelist()[0].partition("/data.pkl")[0] for archive in (ours, theirs)]
        for part in ("data.pkl", "byteorder", *(f"data/{number}" for number in range(len(content)))):
            assert ours.read(f"{roots[0]}/{part}") == theirs.read(f"{roots[1]}/{part}"), part
    mapped = torch.load(tmp_path / "ours.pth", weights_only=True, mmap=True)
    assert all(torch.equal(mapped[name], tensor) for name, tensor in content.items())


def peak(*command):
    """Of a process and its children, in bytes, beyond nothing."""
    code = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)"
    )
    done = subprocess.run([sys.executable, "-c", code, *map(str, command)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_writing_and_exporting_take_the_weights_once(tmp_path):
    small, large = stored("rwkv4", "bf16", tmp_path / "small"), tmp_path / "large"
    settings = RWKV["rwkv4"] | {"n_layer": 12, "n_embd": 1024, "tie_embeddings": False}
    with torch.device("meta"):  # its own way of filling weights takes long
        model = build_model(settings, make_tokenizer()).bfloat16()
    model = model.to_empty(device="cpu")
    for weight in model.parameters():
        nn.init.constant_(weight, 0.01)
    size = sum(weight.nbytes for weight in model.parameters())
    largest = max(weight.nbytes for weight in model.parameters())
    model.save_pretrained(large)
    make_tokenizer().save_pretrained(large)
    del model
    scripts = ROOT / "scripts"
    for name, bound in (("write_text.py", size), ("export_rwkv.py", size + 3 * largest)):
        grown = []
        for folder in (small, large):
            output = ["--output", tmp_path / f"{folder.name}.pth"] if name == "export_rwkv.py" else []
            prompt = ["--prompt", "数", "--max-tokens", "2"] if name == "write_text.py" else []
            grown.append(peak(sys.executable, scripts / name, "--model", folder, *output, *prompt))
        noise = 2**28  # of libraries, whose pages a machine that is short of memory takes back
        assert grown[1] - grown[0] <= 1.25 * bound + noise, name
        assert 1.25 * bound + noise < 3 * size, "what fp32 weights and their file would take"
    assert all(tensor.dtype == torch.float32 for tensor in read_rwkv(tmp_path / "large.pth").parameters())
