"""The inventory: what a file may say, and which kind a process finds that it is of."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tsumugi.cluster.inventory import Inventory, check_runs, find_kind, load_inventory, this_host
from tsumugi.errors import TsumugiError

KINDS = {
    "a6000": {
        "gpus": 2,
        "gpu": "RTX A6000",
        "gpu_memory_gib": 48,
        "micro_batch": 32,
        "hosts": ["gpu0[1-4]", "big-*"],
    },
    "v100": {"gpus": 4, "gpu": "v100", "gpu_memory_gib": 32, "micro_batch": {"rwkv-base": 12, "t5-base": 8}},
    "v100-small": {"gpus": 4, "gpu": "V100", "gpu_memory_gib": 16},
    "cpu": {"gpus": 0, "hosts": ["node*"]},
}


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch):
    monkeypatch.delenv("TSUMUGI_KIND", raising=False)
    monkeypatch.delenv("SLURMD_NODENAME", raising=False)


@pytest.fixture
def inventory(tmp_path):
    return loaded(tmp_path, {"kinds": KINDS})


def loaded(folder, value):
    path = folder / "nodes.yaml"
    path.write_text(value if isinstance(value, str) else yaml.safe_dump(value), encoding="utf-8")
    return load_inventory(path)


def test_an_explicit_micro_batch_is_a_number_or_belongs_to_a_run(inventory):
    assert inventory.kinds["a6000"].micro_batch_of("any") == 32
    assert inventory.kinds["v100"].micro_batch_of("t5-base") == 8
    assert inventory.kinds["v100"].micro_batch_of("other") is None
    assert inventory.kinds["cpu"].micro_batch_of("any") is None


@pytest.mark.parametrize(
    ("host", "device", "memory", "kind"),
    [
        ("gpu02", None, None, "a6000"),  # the host decides, whatever the process sees
        ("gpu02", "Tesla V100-SXM2-32GB", 31.7, "a6000"),
        ("big-7", "NVIDIA RTX A6000", 47.4, "a6000"),
        ("node5", None, None, "cpu"),
        ("elsewhere", None, None, "cpu"),
        ("elsewhere", "NVIDIA RTX A6000", 47.4, "a6000"),
        ("elsewhere", "Tesla V100-SXM2-32GB", 31.7, "v100"),
        ("elsewhere", "Tesla V100-SXM2-16GB", 15.8, "v100-small"),
    ],
)
def test_host_then_device(inventory, host, device, memory, kind):
    assert find_kind(inventory, host, device, memory) == kind


def test_the_environment_goes_first(inventory, monkeypatch):
    monkeypatch.setenv("TSUMUGI_KIND", "v100")
    assert find_kind(inventory, "gpu02", None, None) == "v100"
    monkeypatch.setenv("TSUMUGI_KIND", "h100")
    with pytest.raises(TsumugiError, match=r"TSUMUGI_KIND is 'h100', .*a6000 \(RTX A6000, 48 GiB, hosts gpu0\[1-4\]"):
        find_kind(inventory, "gpu02", None, None)


def test_slurms_name_of_a_node_goes_before_the_hosts_own(monkeypatch):
    assert this_host()
    monkeypatch.setenv("SLURMD_NODENAME", "gpu03")
    assert this_host() == "gpu03"


@pytest.mark.parametrize(
    ("kinds", "device", "memory", "message"),
    [
        (KINDS, "NVIDIA H200", 139.8, r"the GPU NVIDIA H200 with 139.8 GiB, on host x\) fits no kind .*it has: a6000"),
        (KINDS, "Tesla V100 slice", 8.0, "fits no kind"),
        ({"v100": KINDS["v100"]}, None, None, r"no GPU, on host x\) fits no kind"),
        ({"a": KINDS["cpu"], "b": KINDS["cpu"]}, None, None, "fits a and b equally well; mend .*TSUMUGI_KIND"),
        ({"a": KINDS["v100"], "b": KINDS["v100"]}, "Tesla V100", 31.7, "fits a and b equally well"),
    ],
)
def test_no_kind_or_several_say_what_was_seen_and_what_there_is(tmp_path, kinds, device, memory, message):
    with pytest.raises(TsumugiError, match=message):
        find_kind(loaded(tmp_path, {"kinds": kinds}), "x", device, memory)


def test_two_kinds_on_one_host_are_told_apart_by_the_device(tmp_path):
    mixed = {name: KINDS[name] | {"hosts": ["mixed"]} for name in ("a6000", "v100")}
    inventory = loaded(tmp_path, {"kinds": mixed})
    assert find_kind(inventory, "mixed", "Tesla V100-SXM2-32GB", 31.7) == "v100"
    with pytest.raises(TsumugiError, match="fits no kind"):
        find_kind(inventory, "mixed", None, None)


@given(sizes=st.lists(st.integers(4, 200), min_size=1, max_size=6, unique=True), share=st.floats(0.95, 1.0))
def test_of_kinds_with_one_name_the_nearest_memory_is_taken(sizes, share):
    kinds = {f"k{size}": {"gpus": 1, "gpu": "A100", "gpu_memory_gib": size} for size in sizes}
    inventory = Inventory.model_validate({"kinds": kinds})
    for size in sizes:
        found = find_kind(inventory, "x", "NVIDIA A100", float(size))
        assert found == f"k{size}"
    largest = max(sizes)
    assert find_kind(inventory, "x", "nvidia a100-sxm", 4 * largest * share) == f"k{largest}"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gpus": -1}, "kinds.a6000.gpus: Input should be greater than or equal to 0 (found -1)"),
        ({"gpus": True}, "kinds.a6000.gpus: wants a number (found true), line 5"),
        ({"micro_batch": 0}, "kinds.a6000.micro_batch: Input should be greater than 0 (found 0)"),
        ({"micro_batch": {"t5-base": 0}}, "kinds.a6000.micro_batch.t5-base: Input should be greater than 0"),
        ({"gpu_memory": 48}, "kinds.a6000.gpu_memory: unknown key"),
        ({"gpu": None}, "kinds.a6000: a kind with GPUs needs gpu and gpu_memory_gib; gpu not given. On such a machine"),
        (
            {"gpu_memory_gib": None},
            "kinds.a6000: a kind with GPUs needs gpu and gpu_memory_gib; gpu_memory_gib not giv",
        ),
        ({"nodes": 0}, "kinds.a6000.nodes: Input should be greater than 0 (found 0)"),
        ({"compute_capability": "8.6a"}, "kinds.a6000.compute_capability: Input should be a valid number"),
        ({"memory_gib": 0}, "kinds.a6000.memory_gib: Input should be greater than 0 (found 0)"),
        ({"max_hours": 0}, "kinds.a6000.max_hours: Input should be greater than 0 (found 0)"),
        ({"partition": "gpu,old"}, "kinds.a6000.partition: wants the name of one partition, as sinfo shows it"),
        ({"constraint": "a|b"}, "kinds.a6000.constraint: wants one feature of the machines"),
        ({"gres": "gpu:a6000:2"}, "kinds.a6000.gres: wants gpu or gpu:TYPE, without a count"),
        ({"gres": "gpu:2"}, "kinds.a6000.gres: wants gpu or gpu:TYPE, without a count"),
        ({"gres": "gpu:a100-40gb"}, "kinds.a6000.gres: wants gpu or gpu:TYPE"),
        ({"scratch": "scratch"}, "kinds.a6000.scratch: wants a whole path (/scratch), or one that begins with a var"),
        ({"gpus": 0}, "kinds.a6000: gpus is 0: remove gpu and gpu_memory_gib"),
        ({"gpus": 0, "gpu": None, "gpu_memory_gib": None, "gres": "gpu"}, "kinds.a6000: gpus is 0: remove gres"),
        ({"hosts": "gpu01"}, "kinds.a6000.hosts: "),
    ],
)
def test_a_mistake_is_named_with_file_and_key(tmp_path, change, message):
    with pytest.raises(TsumugiError) as error:
        loaded(tmp_path, {"kinds": {"a6000": KINDS["a6000"] | change}})
    assert str(error.value).startswith(f"{tmp_path}/nodes.yaml: ")
    assert f"mistake(s) in the inventory:\n  {message}" in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "an inventory is a mapping with the key kinds, found an empty file"),
        ("- a6000", "an inventory is a mapping with the key kinds"),
        ("kinds: {}", "kinds: wants at least 1 of them"),
        ("nodes: {}", "kinds: is missing"),
        ("kinds: [", "not YAML"),
        ("kinds:\n  a: {gpus: 0}\n  a: {gpus: 0}\n", "line 3: the key 'a' already stands on line 2"),
        ("kinds:\n  a: {gpus: 0, gpus: 0}\n", "line 2: the key 'gpus' already stands on line 2"),
        ("kinds: {a b: {gpus: 0}}", "wants a name of letters"),
    ],
)
def test_what_is_no_inventory_is_refused(tmp_path, text, message):
    with pytest.raises(TsumugiError, match=r"nodes\.yaml") as error:
        loaded(tmp_path, text)
    assert message in str(error.value)


def test_the_clusters_example_is_one():
    inventory = load_inventory(Path(__file__).parents[3] / "profiles/cluster/nodes.yaml")
    assert sorted(bool(kind.gpus) for kind in inventory.kinds.values()) == [False, True, True]
    for name, kind in inventory.kinds.items():
        optional = set() if kind.gpus else {"gpu", "gpu_memory_gib", "compute_capability", "gres", "constraint"}
        unsaid = {key for key, value in kind if value is None} - optional - {"micro_batch", "max_hours"}
        assert not unsaid, f"{name} leaves out {unsaid}"


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(TsumugiError, match=r"none\.yaml: the inventory cannot be read \(No such file"):
        load_inventory(tmp_path / "none.yaml")


def test_a_micro_batch_for_an_unknown_run_is_refused(tmp_path):
    text = "kinds: {one: {gpus: 0, micro_batch: {t5-base: 4, t5-bsae: 8}}, two: {gpus: 0, micro_batch: 3}}"
    inventory = loaded(tmp_path, text)
    check_runs(inventory, "nodes.yaml", ["t5-base", "t5-bsae"])
    with pytest.raises(TsumugiError, match=r"nodes\.yaml:\nkinds\.one\.micro_batch: there is no run named 't5-bsae'"):
        check_runs(inventory, "nodes.yaml", ["t5-base", "rwkv"])
