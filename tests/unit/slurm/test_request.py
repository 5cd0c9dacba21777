"""What Slurm is asked for: exactly the kinds of machines that suit a run, or an error that says what is missing."""

import itertools
import re
from collections import Counter

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tsumugi.cluster.inventory import Inventory
from tsumugi.config.loading import load_config
from tsumugi.config.needs import Needs
from tsumugi.errors import TsumugiError
from tsumugi.slurm.matching import Defaults, Share
from tsumugi.slurm.request import check_all, make_request, request_for

A6000 = {"gpus": 1, "gpu": "RTX A6000", "gpu_memory_gib": 48, "compute_capability": 8.6, "nodes": 2}
V100 = {"gpus": 2, "gpu": "V100", "gpu_memory_gib": 32, "compute_capability": 7.0, "nodes": 2}
CPU = {"gpus": 0, "cpus": 8, "max_hours": 24}
LABORATORY = {
    "a6000": A6000 | {"partition": "gpu", "constraint": "a6000", "gres": "gpu:a6000", "memory_gib": 64},
    "v100": V100 | {"partition": "gpu", "constraint": "v100", "gres": "gpu:v100", "memory_gib": 32},
    "cpu": CPU | {"partition": "cpu"},
}


def requested(kinds, needs, mem_mb=6000, minutes=720, **others):
    inventory = Inventory.model_validate({"kinds": kinds})
    defaults = Defaults(mem_mb, minutes, **others)
    return make_request(inventory, Needs.model_validate(needs), "compute.needs.t5", defaults)


def said(kinds, needs, **defaults):
    """What the executor plugin reads of a request."""
    values = requested(kinds, needs, **defaults).resources()
    return {
        key: value
        for key, value in values.items()
        if value is not None and key not in ("kinds", "shared_mem_mb", "cpus_per_task")
    }


@pytest.mark.parametrize(
    ("needs", "expected"),
    [
        ({}, {"slurm_partition": "gpu", "gres": "gpu:1"}),
        ({"gpu_memory_gib": 40}, {"slurm_partition": "gpu", "gres": "gpu:1", "constraint": "a6000"}),
        ({"precision": "bf16"}, {"slurm_partition": "gpu", "gres": "gpu:1", "constraint": "a6000"}),
        ({"precision": "fp16"}, {"slurm_partition": "gpu", "gres": "gpu:1"}),
        ({"kinds": ["v100"]}, {"slurm_partition": "gpu", "gres": "gpu:1", "constraint": "v100"}),
        ({"world_size": 2}, {"slurm_partition": "gpu", "gres": "gpu:2", "mem_mb": 12000}),  # one v100, not two a6000
        ({"hours": 1.5, "memory_gib": 50}, {"slurm_partition": "gpu", "gres": "gpu:1", "mem_mb": 51200, "runtime": 90}),
        ({"gpu_memory_gib": 0}, {"slurm_partition": "cpu"}),
        ({"kinds": ["cpu"], "world_size": 8, "precision": "bf16"}, {"slurm_partition": "cpu", "mem_mb": 48000}),
    ],
)
def test_needs_become_what_the_executor_plugin_reads(needs, expected):
    assert said(LABORATORY, needs) == {"nodes": 1, "mem_mb": 6000, "runtime": 720} | expected


SPANNING = {"mpi": "srun", "tasks_per_gpu": 0, "mem_mb": 6000, "runtime": 720}


def test_whole_machines_where_one_is_too_small():
    request = requested(LABORATORY, {"world_size": 4})
    assert (request.kinds, request.processes, request.gpus_in_all) == (("v100",), 2, None)
    expected = {"slurm_partition": "gpu", "gres": "gpu:2", "nodes": 2, "tasks": 2, "mem_mb": 12000}
    assert said(LABORATORY, {"world_size": 4}) == SPANNING | expected


def test_one_job_over_several_kinds():
    """Slurm takes the least number of GPUs for each machine; a step then asks for all of them by their sum."""
    needs = {"nodes": {"v100": 2, "a6000": 1}}
    request = requested(LABORATORY, needs)
    assert (request.world_size, request.processes, request.gpus_in_all) == (5, None, 5)
    expected = {"slurm_partition": "gpu", "gres": "gpu:1", "nodes": 3, "tasks": 3, "constraint": "[v100*2&a6000*1]"}
    assert said(LABORATORY, needs) == SPANNING | expected


def test_several_machines_of_one_kind_need_no_feature_that_others_lack():
    cpu = LABORATORY["cpu"] | {"nodes": 2}
    request = requested(LABORATORY | {"cpu": cpu}, {"nodes": {"cpu": 2}})
    assert (request.partition, request.constraint, request.gres, request.world_size) == ("cpu", None, None, 2)
    assert requested(LABORATORY, {"nodes": {"a6000": 2}}).constraint == "a6000"


def test_machines_of_one_job_are_of_one_kind_unless_asked_for():
    kinds = LABORATORY | {"v100-new": LABORATORY["v100"] | {"constraint": "v100s"}}
    assert requested(kinds, {"world_size": 4}).constraint == "[v100|v100s]"
    assert requested(kinds, {"world_size": 2, "gpu_memory_gib": 32}).constraint is None
    assert requested(kinds, {"kinds": ["v100", "v100-new"]}).constraint == "v100|v100s"


def test_a_feature_goes_before_a_partition_that_may_share_its_machines():
    kinds = LABORATORY | {"a6000": LABORATORY["a6000"] | {"partition": "big"}}
    assert said(kinds, {"gpu_memory_gib": 40})["constraint"] == "a6000"
    del kinds["a6000"]["constraint"]
    assert said(kinds, {"gpu_memory_gib": 40})["gres"] == "gpu:a6000:1"
    del kinds["a6000"]["gres"]
    assert "constraint" not in said(kinds, {"gpu_memory_gib": 40})
    assert said(kinds, {})["slurm_partition"] == "big,gpu"


def test_slurm_itself_sees_to_the_memory_of_a_machine():
    kinds = {name: A6000 | {"partition": "gpu", "memory_gib": size} for name, size in (("small", 64), ("big", 256))}
    assert requested(kinds, {"memory_gib": 100}).kinds == ("big",)


def test_an_inventory_of_a_workstation_asks_for_any_partition():
    assert said({"own": V100}, {"world_size": 2}) == {"gres": "gpu:2", "nodes": 1, "mem_mb": 12000, "runtime": 720}


# --- CPUs, memory and time of a job, by its processes and by what its machines have ---


@pytest.mark.parametrize(
    ("change", "needs", "share"),
    [
        ({}, {"kinds": ["v100"]}, Share(4, 4, 6000)),
        ({}, {"kinds": ["v100"], "world_size": 2}, Share(8, 4, 12000)),
        ({}, {"kinds": ["v100"], "world_size": 4}, Share(8, 4, 12000)),  # of each of two machines
        ({}, {"kinds": ["v100"], "world_size": 2, "memory_gib": 8}, Share(8, 4, 8192)),  # said of the machine
        ({"v100": {"cpus": 6}}, {"kinds": ["v100"], "world_size": 2}, Share(6, 3, 12000)),
        ({"v100": {"cpus": 1}}, {"kinds": ["v100"], "world_size": 2}, Share(1, 1, 12000)),
        ({"v100": {"memory_gib": 10}}, {"kinds": ["v100"], "world_size": 2}, Share(8, 4, 10240)),
        ({"v100": {"memory_gib": 5}}, {"kinds": ["v100"]}, Share(4, 4, 5120)),
        ({"v100": {"cpus": 3}, "a6000": {"cpus": 2}}, {}, Share(2, 2, 6000)),
        ({}, {"nodes": {"a6000": 1, "v100": 1}}, Share(4, 4, 6000)),  # what the smallest needs: the machines are whole
        ({"v100": {"cpus": 4}}, {"nodes": {"a6000": 1, "v100": 1}}, Share(4, 2, 6000)),
        ({}, {"kinds": ["cpu"], "world_size": 4}, Share(8, 2, 24000)),
        ({}, {"kinds": ["cpu"], "world_size": 2}, Share(8, 4, 12000)),
    ],
)
def test_cpus_and_memory_follow_the_processes_of_a_machine(change, needs, share):
    kinds = {name: kind | change.get(name, {}) for name, kind in LABORATORY.items()}
    assert requested(kinds, needs, threads=4).share == share


@pytest.mark.parametrize(
    ("limits", "needs", "kinds", "minutes"),
    [
        ((72, 8), {}, ("a6000", "v100"), 480),
        ((72, 8), {"kinds": ["v100"]}, ("v100",), 480),
        ((None, 1), {}, ("a6000", "v100"), 60),
        ((None, 0.5), {}, ("a6000",), 720),  # a partition for trials is not what twelve hours are divided by
        ((1, 0.5), {}, ("a6000",), 60),
        ((0.25, 0.5), {}, ("v100",), 30),
        ((72, 8), {"hours": 8}, ("a6000", "v100"), 480),
        ((72, 8), {"hours": 9}, ("a6000",), 540),
        ((72, 0.25), {"hours": 0.25}, ("a6000", "v100"), 15),
        ((72, 8), {"nodes": {"a6000": 1, "v100": 1}}, ("a6000", "v100"), 480),
    ],
)
def test_the_default_time_limit_is_as_long_as_the_machines_give(limits, needs, kinds, minutes):
    changed = {name: LABORATORY[name] | {"max_hours": hours} for name, hours in zip(LABORATORY, limits, strict=False)}
    request = requested(changed, needs, resumes=True)
    assert (request.kinds, request.minutes) == (kinds, minutes)


def test_a_job_that_cannot_go_on_later_goes_where_it_has_its_time_if_there_is_such_a_place():
    changed = {name: LABORATORY[name] | {"max_hours": hours} for name, hours in (("a6000", 72), ("v100", 2))}
    of = {name: requested(changed, {"kinds": kinds}, minutes=240) for name, kinds in (("any", []), ("v100", ["v100"]))}
    assert {name: (request.kinds, request.minutes) for name, request in of.items()} == {
        "any": (("a6000",), 240),
        "v100": (("v100",), 120),
    }


SEVERAL = {
    "a6000": LABORATORY["a6000"] | {"partition": ["long", "short"], "max_hours": {"long": 72, "short": 8}},
    "v100": LABORATORY["v100"] | {"partition": ["short", "old"], "max_hours": {"short": 8, "old": 24}},
}


@pytest.mark.parametrize(
    ("needs", "partition", "minutes"),
    [
        ({"kinds": ["a6000"]}, "long", 720),  # twelve hours fit there
        ({"kinds": ["a6000"], "hours": 8}, "long,short", 480),
        ({"kinds": ["a6000"], "hours": 48}, "long", 2880),
        ({"kinds": ["v100"]}, "old", 720),
        ({"hours": 2}, "long,old,short", 120),
        ({"hours": 20}, "long,old", 1200),
        ({"nodes": {"a6000": 1, "v100": 1}}, "short", 480),
        ({"nodes": {"a6000": 1, "v100": 1}, "hours": 3}, "short", 180),
    ],
)
def test_a_kind_may_lie_in_several_partitions(needs, partition, minutes):
    request = requested(SEVERAL, needs, resumes=True)
    assert (request.partition, request.minutes) == (partition, minutes)


def test_a_job_over_several_kinds_has_the_time_of_the_partitions_that_they_share():
    with pytest.raises(TsumugiError, match=r"t5\.hours: 20, but .* v100 have in common \(short\) .* at most 8"):
        requested(SEVERAL, {"nodes": {"a6000": 1, "v100": 1}, "hours": 20})
    kinds = SEVERAL | {"v100": SEVERAL["v100"] | {"partition": "old", "max_hours": None}}
    with pytest.raises(TsumugiError, match=r"\(a6000 in long and short, v100 in old\); add .* in \[long, NAME\]"):
        requested(kinds, {"nodes": {"a6000": 1, "v100": 1}})


def test_of_several_partitions_those_are_named_that_others_do_not_share():
    bare = {"constraint": None, "gres": None}
    kinds = {name: kind | bare for name, kind in SEVERAL.items()}
    assert requested(kinds, {"kinds": ["a6000"], "hours": 1}).partition == "long"
    kinds["v100"] |= {"partition": ["short", "long"], "max_hours": None}
    with pytest.raises(TsumugiError, match="does not say how Slurm tells them from v100"):
        requested(kinds, {"kinds": ["a6000"], "hours": 1})


def test_memory_that_keeps_a_job_off_smaller_machines_is_always_asked_for():
    kinds = {name: A6000 | {"partition": "gpu", "memory_gib": size} for name, size in (("small", 64), ("big", 256))}
    assert requested(kinds, {"memory_gib": 100}).resources()["shared_mem_mb"] is None
    assert requested(kinds, {}).resources()["shared_mem_mb"] == 6000


@pytest.mark.parametrize(
    ("needs", "lines"),
    [
        ({"gpu_memory_gib": 80}, ["a6000: 48 GiB of GPU memory, 80 asked for", "v100: 32 GiB of GPU", "cpu: no GPU"]),
        ({"precision": "bf16", "kinds": ["v100"]}, ["v100: compute capability 7.0, bf16 needs 8.0"]),
        ({"precision": "fp16", "kinds": ["cpu"]}, ["cpu: no GPU, which fp16 needs"]),
        ({"memory_gib": 100}, ["a6000: 64 GiB of CPU memory, 100 asked for"]),
        (
            {"gpu_memory_gib": 0, "hours": 30},
            ["a6000: it has GPUs, none is asked for", "cpu: jobs of at most 24 hours"],
        ),
        ({"world_size": 3}, ["a6000: 2 machine(s) with 1 GPU(s)", "v100: 2 GPUs a machine, of which whole machines"]),
        ({"world_size": 5}, ["v100: 2 machine(s) with 2 GPU(s), a world_size of 5 asked for"]),
        ({"kinds": ["cpu"], "world_size": 9}, ["cpu: 8 CPUs, a world_size of 9 asked for"]),
        ({"nodes": {"a6000": 1, "cpu": 1}}, ["cpu: no GPU"]),
        ({"nodes": {"a6000": 1, "v100": 1}, "gpu_memory_gib": 40}, ["v100: 32 GiB of GPU memory, 40 asked for"]),
    ],
)
def test_what_nothing_meets_is_refused_with_what_each_kind_lacks(needs, lines):
    with pytest.raises(TsumugiError, match=r"compute\.needs\.t5: .* not meet|compute\.needs\.t5: no kind") as error:
        requested(LABORATORY, needs)
    for line in lines:
        assert f"\n  {line}" in str(error.value)


@pytest.mark.parametrize(
    ("change", "needs", "message"),
    [
        ({}, {"kinds": ["h100"]}, r"t5\.kinds: the inventory has no kind 'h100'; choose from: a6000, v100, cpu"),
        ({}, {"nodes": {"h100": 1}}, r"t5\.nodes: the inventory has no kind 'h100'"),
        ({}, {"nodes": {"a6000": 3}}, r"t5\.nodes\.a6000: 3 machines, the inventory has 2"),
        ({}, {"nodes": {"a6000": 2}, "world_size": 3}, r"world_size: 3 processes, .* make 2; remove world_size"),
        ({"v100": {"partition": "old"}}, {"nodes": {"a6000": 1, "v100": 1}}, "lies in one partition .*v100 in old"),
        ({"v100": {"constraint": None}}, {"nodes": {"a6000": 1, "v100": 1}}, r"add constraint to kinds\.v100 "),
        ({"v100": {"constraint": "a6000"}}, {"nodes": {"a6000": 1, "v100": 1}}, r"change kinds\.a6000\.constraint"),
        ({"a6000": {"constraint": None, "gres": None}}, {"gpu_memory_gib": 40}, r"tells them from v100 \(v100: 32 GiB"),
        ({"a6000": {"constraint": None, "gres": None}}, {"gpu_memory_gib": 40}, r"add constraint to kinds\.a6000: a f"),
        ({"a6000": {"partition": None}}, {}, r"names the partition of some .* add partition to kinds\.a6000 "),
        ({"cpu": {"partition": "gpu"}}, {"gpu_memory_gib": 0}, r"cpu would do, .* add constraint to kinds\.cpu"),
        (
            {"a6000": {"constraint": "v100", "gres": None}},
            {"gpu_memory_gib": 40},
            r"give kinds\.a6000 a constraint that v100 does not have",
        ),
        ({"a6000": {"compute_capability": None}}, {"precision": "bf16"}, "a6000: compute_capability is not given"),
    ],
)
def test_what_cannot_be_asked_for_names_the_key(change, needs, message):
    kinds = {name: kind | change.get(name, {}) for name, kind in LABORATORY.items()}
    with pytest.raises(TsumugiError, match=message):
        requested(kinds, needs)


# --- for any inventory and any needs, against a model of what Slurm may do ---

KIND = st.fixed_dictionaries(
    {
        "gpus": st.integers(0, 4),
        "gpu_memory_gib": st.sampled_from([16, 40]),
        "compute_capability": st.sampled_from([None, 6.0, 7.5, 8.0]),
        "nodes": st.integers(1, 3),
        "cpus": st.sampled_from([None, 2, 16]),
        "memory_gib": st.sampled_from([None, 4, 16]),
        "partition": st.sampled_from([None, "p", "p", "q", "q", ("p", "q")]),
        "constraint": st.sampled_from([None, "x", "y", "z"]),
        "gres": st.sampled_from([None, "gpu", "gpu:s", "gpu:t"]),
        "max_hours": st.sampled_from([None, 1, 24]),
    }
).map(
    lambda kind: (
        kind | {"gpu": "G"} if kind["gpus"] else kind | dict.fromkeys(("gpu_memory_gib", "compute_capability", "gres"))
    )
)
KINDS = st.lists(KIND, min_size=1, max_size=4).map(lambda kinds: dict(zip("abcd", kinds, strict=False)))
NEEDS = st.fixed_dictionaries(
    {
        "gpu_memory_gib": st.sampled_from([None, 0, 16, 24]),
        "world_size": st.integers(1, 8),
        "precision": st.sampled_from(["fp32", "fp32", "fp16", "bf16"]),
        "hours": st.sampled_from([None, 0.5, 5]),
        "memory_gib": st.sampled_from([None, 2, 8]),
        "kinds": st.sampled_from([(), (), (), ("a",), ("a", "b")]),
    }
)


def suits(kind, needs, gpu):
    """Whether a kind meets the needs, the number of processes apart."""
    if bool(kind["gpus"]) != gpu or (kind["memory_gib"] or 99) < (needs["memory_gib"] or 1):
        return False
    if (kind["max_hours"] or 99) < (needs["hours"] or 0) or (gpu and kind["gpu_memory_gib"] < needs["gpu_memory_gib"]):
        return False
    if not gpu:
        return needs["precision"] != "fp16"
    return (kind["compute_capability"] or 0) >= {"fp32": 0, "fp16": 7, "bf16": 8}[needs["precision"]]


def machines_taken(kind, world_size):
    if not kind["gpus"]:
        return 1 if world_size <= (kind["cpus"] or 99) else None
    return next((n for n in range(1, kind["nodes"] + 1) if fills(world_size, n, kind["gpus"])), None)


def fills(world_size, nodes, gpus):
    return world_size <= gpus if nodes == 1 else world_size == nodes * gpus


def choice(kinds, needs):
    """The kinds that a job may land on, how many machines it takes, whether it computes on GPUs, and its hours."""
    candidates = {name: kinds[name] for name in needs["kinds"] or kinds}
    any_gpu = any(kind["gpus"] for kind in candidates.values())
    gpu = any_gpu if needs["gpu_memory_gib"] is None else needs["gpu_memory_gib"] > 0
    needs = needs | {"gpu_memory_gib": needs["gpu_memory_gib"] or 0}
    taken = {name: machines_taken(kind, needs["world_size"]) for name, kind in candidates.items()}
    fit = {name for name, kind in candidates.items() if suits(kind, needs, gpu) and taken[name]}
    if needs["hours"] is None:  # two by default, where a kind gives as much; else as long as one gives
        longest = max(((kinds[name]["max_hours"] or 99) for name in fit), default=0)
        fit = {name for name in fit if (kinds[name]["max_hours"] or 99) >= min(2, longest)}
    fewest = min((taken[name] for name in fit), default=0)
    fit = {name for name in fit if taken[name] == fewest}
    return fit, fewest, gpu, needs["hours"] or min([2, *((kinds[name]["max_hours"] or 99) for name in fit)])


def memory_of(kinds, chosen, needs, nodes):
    """MiB of each machine: a GiB for each process by default, where the machines have as much."""
    if needs["memory_gib"]:
        return 1024 * needs["memory_gib"]
    return 1024 * min([needs["world_size"] // nodes, *(kinds[name]["memory_gib"] or 99 for name in chosen)])


def allocations(kinds, asked, partition, unknown):
    """Every set of kinds of machines that Slurm may give to a job in one partition, as counts.

    Args:
        unknown: what a kind without a partition or a gres is taken to match.
    """
    machines = [name for name, kind in kinds.items() for _ in range(kind["nodes"])]
    fit = [name for name in machines if eligible(kinds[name], asked, partition, unknown)]
    constraint = asked.get("constraint")
    for group in set(itertools.combinations(fit, asked["nodes"])):
        features = Counter(kinds[name]["constraint"] for name in group)
        if constraint is not None and "*" in constraint:
            wanted = dict(part.split("*") for part in constraint.strip("[]").split("&"))
            if any(features[feature] < int(count) for feature, count in wanted.items()):
                continue
        elif constraint is not None and constraint.startswith("[") and len(features) > 1:
            continue
        yield Counter(group)


def eligible(kind, asked, partition, unknown):
    in_partition = unknown if None in (partition, kind["partition"]) else partition in kind["partition"]
    if partition is None and kind["partition"] is None:
        in_partition = True
    constraint = asked.get("constraint")
    feature = constraint is None or kind["constraint"] in re.findall(r"[a-z]+", constraint)
    *name, count = asked.get("gres", "gpu:0").split(":")
    typed = len(name) == 2
    of_type = not typed or kind["gres"] == ":".join(name) or (unknown and kind["gpus"] > 0 and kind["gres"] is None)
    memory = kind["memory_gib"] is None or kind["memory_gib"] * 1024 >= asked["mem_mb"]
    return in_partition and feature and of_type and kind["gpus"] >= int(count) and memory


def outcomes(kinds, asked, unknown):
    partitions = asked["slurm_partition"].split(",") if "slurm_partition" in asked else [None]
    return [group for partition in partitions for group in allocations(kinds, asked, partition, unknown)]


def keeps_to(kinds, asked, chosen):
    """Whether a job lands on chosen machines alone, whatever is not known, and on each of their kinds for certain."""
    certain = [group for group in outcomes(kinds, asked, unknown=False) if len(group) == 1]
    reached = {name for group in certain for name in group}
    return all(set(group) <= chosen for group in outcomes(kinds, asked, unknown=True)) and chosen <= reached


def ways_to_ask(kinds, chosen, nodes, world_size, gpu, mem_mb):
    """Everything that may be said of the chosen kinds."""
    partitions = {partition for name in chosen for partition in kinds[name]["partition"] or [None]}
    features = sorted(kinds[name]["constraint"] or "" for name in chosen)
    types = {kinds[name]["gres"] for name in chosen}
    options = [[None] if None in partitions else [",".join(partitions), *partitions]]
    options.append([None] if "" in features else [None, "|".join(features), f"[{'|'.join(features)}]"])
    options.append([None] if not gpu else ["gpu", *(types if len(types) == 1 and None not in types else [])])
    for partition, constraint, gres in itertools.product(*options):
        asked = {"slurm_partition": partition, "constraint": constraint, "nodes": nodes, "mem_mb": mem_mb}
        asked["gres"] = f"{gres}:{world_size // nodes}" if gres else None
        yield {key: value for key, value in asked.items() if value is not None}


@settings(max_examples=300, deadline=None)
@given(kinds=KINDS, needs=NEEDS)
def test_slurm_gives_machines_that_suit_and_no_others(kinds, needs):
    assume(set(needs["kinds"]) <= set(kinds) and not (needs["gpu_memory_gib"] == 0 and needs["precision"] == "fp16"))
    chosen, nodes, gpu, hours = choice(kinds, needs)
    mem_mb = memory_of(kinds, chosen, needs, nodes) if chosen else 0
    try:
        request = requested(kinds, needs, mem_mb=1024, minutes=120)
    except TsumugiError:
        ways = ways_to_ask(kinds, chosen, nodes, needs["world_size"], gpu, mem_mb) if chosen else []
        assert not any(keeps_to(kinds, asked, chosen) for asked in ways)
        return
    asked = {key: value for key, value in request.resources().items() if value is not None}
    assert set(request.kinds) == chosen
    assert (request.nodes, asked["mem_mb"], asked["runtime"]) == (nodes, mem_mb, round(60 * hours))
    assert request.processes * nodes == needs["world_size"]
    assert ("gres" in asked) == gpu
    assert keeps_to(kinds, asked, chosen)


@settings(max_examples=200, deadline=None)
@given(kinds=KINDS, counts=st.lists(st.integers(0, 3), min_size=4, max_size=4))
def test_a_job_over_several_kinds_gets_the_machines_that_it_names(kinds, counts):
    nodes = {name: count for name, count in zip(kinds, counts, strict=False) if count}
    assume(nodes)
    try:
        request = requested(kinds, {"nodes": nodes}, mem_mb=1024, minutes=60)
    except TsumugiError:
        clear = len({kinds[name]["constraint"] for name in kinds} - {None}) == len(kinds)
        one_place = len({kinds[name]["partition"] for name in kinds}) == 1  # a tuple or a name, and the same of all
        alike = len({kinds[name]["gpus"] > 0 for name in nodes}) == 1
        assert not (clear and one_place and alike and all(kinds[name]["nodes"] >= nodes[name] for name in nodes))
        return
    asked = {key: value for key, value in request.resources().items() if value is not None}
    assert request.world_size == sum(count * max(1, kinds[name]["gpus"]) for name, count in nodes.items())
    possible = outcomes(kinds, asked, unknown=True)
    assert Counter(nodes) in outcomes(kinds, asked, unknown=False)
    assert all(group == Counter(nodes) for group in possible)


# --- from the configuration ---


@pytest.fixture
def config():
    recipe = {"learning_rate": 1e-3, "global_batch": 4, "steps": 2, "warmup": 0}
    run = {"architecture": "small", "tokenizer": "t", "objective": "causal_lm", "corpora": {"c": 1.0}}
    return {
        "corpora": {"c": {"reader": "debian_docs", "packages": ["debian-reference-ja"]}},
        "tokenizers": {"t": {"kind": "unigram", "vocab_size": 400, "corpora": {"c": 1.0}}},
        "architectures": {"small": {"kind": "rwkv4", "n_layer": 1, "n_embd": 8}},
        "recipes": {"auto": recipe, "half": recipe | {"precision": "fp16"}, "brain": recipe | {"precision": "bf16"}},
        "runs": {name: run | {"recipe": name} for name in ("auto", "half", "brain")},
        "compute": {"needs": {"auto": {"gpu_memory_gib": 0}, "brain": {"precision": "fp16", "hours": 2}}},
    }


def test_an_explicit_precision_of_a_recipe_is_a_need(config):
    inventory = Inventory.model_validate({"kinds": LABORATORY})
    of = {run: request_for(inventory, load_config(config), run, Defaults(1000, 60)) for run in config["runs"]}
    assert {run: request.kinds for run, request in of.items()} == {
        "auto": ("cpu",),
        "half": ("a6000", "v100"),
        "brain": ("a6000",),
    }
    assert (of["brain"].minutes, of["half"].minutes, of["half"].share.mem_mb) == (120, 60, 1000)
    check_all(inventory, load_config(config), Defaults(1000, 60))


def test_a_job_of_one_process_goes_where_the_run_may_go(config):
    config["compute"]["needs"] = {"half": {"nodes": {"a6000": 1, "v100": 1}, "hours": 9, "memory_gib": 30}}
    inventory = Inventory.model_validate({"kinds": LABORATORY})
    request = request_for(inventory, load_config(config), "half", Defaults(1000, 60), alone=True)
    assert (request.kinds, request.world_size, request.nodes) == (("a6000", "v100"), 1, 1)
    assert (request.minutes, request.share.mem_mb) == (60, 1000)


def test_every_run_that_cannot_be_placed_is_named_at_once(config):
    inventory = Inventory.model_validate({"kinds": {"v100": LABORATORY["v100"]}})
    with pytest.raises(TsumugiError, match=r"^2 run\(s\) cannot be placed:\n") as error:
        check_all(inventory, load_config(config), Defaults(1000, 60))
    assert "compute.needs.auto: no kind" in str(error.value)
    assert "compute.needs.brain: no kind" in str(error.value)
    assert "compute.needs.half" not in str(error.value)
