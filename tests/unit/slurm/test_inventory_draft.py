"""Drafting an inventory: what scontrol of several versions prints, host patterns, kinds, and the file."""

import os
import re
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tsumugi.cluster.inventory import load_inventory
from tsumugi.config.needs import Needs
from tsumugi.errors import TsumugiError
from tsumugi.slurm.host_patterns import host_patterns
from tsumugi.slurm.inventory_draft import draft_text
from tsumugi.slurm.matching import Defaults
from tsumugi.slurm.node_grouping import group_nodes
from tsumugi.slurm.node_probe import Answer, ask_node, parse_answer
from tsumugi.slurm.request import make_request
from tsumugi.slurm.scontrol import Node, Partition, parse_nodes, parse_partitions

SCRIPT = Path(__file__).parents[3] / "scripts/draft_inventory.py"

# Slurm 22.05: one line a node; values with blanks, (null), and a reason that looks like keys.
NODES_22 = """\
NodeName=gpu01 Arch=x86_64 CoresPerSocket=1  CPUAlloc=0 CPUEfctv=4 CPUTot=4 CPULoad=1.43 AvailableFeatures=a6000,48g \
ActiveFeatures=a6000,48g Gres=gpu:a6000:1 NodeAddr=10.0.0.1 NodeHostName=gpu01 Port=17001 Version=22.05.8 \
OS=Linux 6.1.0-13-amd64 #1 SMP PREEMPT_DYNAMIC Debian 6.1.55-1 (2023-09-29)  RealMemory=6000 AllocMem=0 FreeMem=22404 \
Sockets=4 Boards=1 State=IDLE ThreadsPerCore=1 TmpDisk=0 Weight=1 Owner=N/A MCS_label=N/A Partitions=gpu,urgent  \
BootTime=2023-11-22T05:19:55 SlurmdStartTime=2023-11-22T12:14:29 LastBusyTime=2023-11-22T12:17:24 \
CfgTRES=cpu=4,mem=6000M,billing=4 AllocTRES= CapWatts=n/a CurrentWatts=0 AveWatts=0 ExtSensorsJoules=n/s \
ExtSensorsWatts=0 ExtSensorsTemp=n/s

NodeName=cpu-1 Arch=x86_64 CoresPerSocket=1  CPUAlloc=0 CPUEfctv=4 CPUTot=4 CPULoad=1.50 AvailableFeatures=(null) \
ActiveFeatures=(null) Gres=(null) NodeAddr=10.0.0.2 NodeHostName=cpu-1 Port=17003 Version=22.05.8 \
OS=Linux 6.1.0-13-amd64 #1 SMP PREEMPT_DYNAMIC Debian 6.1.55-1 (2023-09-29)  RealMemory=6000 AllocMem=0 FreeMem=22324 \
Sockets=4 Boards=1 State=DOWN*+DRAIN ThreadsPerCore=1 TmpDisk=0 Weight=1 Owner=N/A MCS_label=N/A \
Partitions=cpu,urgent  BootTime=None SlurmdStartTime=None LastBusyTime=2023-11-22T12:16:59 \
CfgTRES=cpu=4,mem=6000M,billing=4 AllocTRES= \
CapWatts=n/a CurrentWatts=0 AveWatts=0 ExtSensorsJoules=n/s ExtSensorsWatts=0 ExtSensorsTemp=n/s \
Reason=disk full, see Gres=gpu:9 [root@2023-11-22T12:00:00]
"""
PARTITIONS_22 = """\
PartitionName=cpu AllowGroups=ALL AllowAccounts=ALL AllowQos=ALL AllocNodes=ALL Default=YES QoS=N/A DefaultTime=NONE \
DisableRootJobs=NO ExclusiveUser=NO GraceTime=0 Hidden=NO MaxNodes=UNLIMITED MaxTime=1-00:00:00 MinNodes=0 LLN=NO \
MaxCPUsPerNode=UNLIMITED Nodes=cpu-1 PriorityJobFactor=1 PriorityTier=1 RootOnly=NO ReqResv=NO OverSubscribe=NO \
OverTimeLimit=NONE PreemptMode=OFF State=UP TotalCPUs=4 TotalNodes=1 SelectTypeParameters=NONE JobDefaults=(null) \
DefMemPerNode=UNLIMITED MaxMemPerNode=UNLIMITED TRES=cpu=4,mem=6000M,node=1,billing=4
PartitionName=gpu AllowGroups=ALL AllowAccounts=ALL AllowQos=ALL AllocNodes=ALL Default=NO QoS=N/A DefaultTime=NONE \
DisableRootJobs=NO ExclusiveUser=NO GraceTime=0 Hidden=NO MaxNodes=UNLIMITED MaxTime=UNLIMITED MinNodes=0 LLN=NO \
MaxCPUsPerNode=UNLIMITED Nodes=gpu01 PriorityJobFactor=1 PriorityTier=1 RootOnly=NO ReqResv=NO OverSubscribe=NO \
OverTimeLimit=NONE PreemptMode=OFF State=UP TotalCPUs=4 TotalNodes=1 SelectTypeParameters=NONE JobDefaults=(null) \
DefMemPerNode=UNLIMITED MaxMemPerNode=UNLIMITED TRES=cpu=4,mem=6000M,node=1,billing=4
PartitionName=urgent AllowGroups=ALL AllowAccounts=ALL AllowQos=ALL AllocNodes=ALL Default=NO QoS=N/A DefaultTime=NONE \
DisableRootJobs=NO ExclusiveUser=NO GraceTime=0 Hidden=NO MaxNodes=UNLIMITED MaxTime=02:30:00 MinNodes=0 LLN=NO \
MaxCPUsPerNode=UNLIMITED Nodes=cpu-1,gpu01 PriorityJobFactor=1 PriorityTier=10 RootOnly=NO ReqResv=NO \
OverSubscribe=NO OverTimeLimit=NONE PreemptMode=OFF State=UP TotalCPUs=8 TotalNodes=2 SelectTypeParameters=NONE \
JobDefaults=(null) DefMemPerNode=UNLIMITED MaxMemPerNode=UNLIMITED TRES=cpu=8,mem=12000M,node=2,billing=8
"""
# Slurm 23.11: sockets behind a gres, types that AutoDetect found, cores and memory kept for the system, new keys.
NODES_23 = """\
NodeName=hopper1 Arch=x86_64 CoresPerSocket=64 CPUAlloc=0 CPUEfctv=224 CPUTot=256 CPULoad=0.01 \
AvailableFeatures=h100,ib,node ActiveFeatures=h100,ib \
Gres=gpu:nvidia_h100_80gb_hbm3:4(S:0-1),shard:nvidia_h100_80gb_hbm3:16(S:0-1) NodeAddr=hopper1 NodeHostName=hopper1 \
Version=23.11.4 OS=Linux 5.15.0-91-generic #101-Ubuntu SMP Tue Nov 14 13:30:08 UTC 2023 RealMemory=515656 AllocMem=0 \
FreeMem=480000 Sockets=2 Boards=1 CPUSpecList=0-31 MemSpecLimit=32768 State=MIXED+PLANNED ThreadsPerCore=2 TmpDisk=0 \
Weight=1 Owner=N/A MCS_label=N/A Partitions=all,h100 BootTime=2024-01-10T10:00:00 SlurmdStartTime=2024-01-10T10:05:00 \
LastBusyTime=2024-01-20T10:00:00 ResumeAfterTime=None CfgTRES=cpu=224,mem=515656M,billing=224,gres/gpu=4 AllocTRES= \
CapWatts=n/a CurrentWatts=0 AveWatts=0 ExtSensorsJoules=n/a ExtSensorsWatts=0 ExtSensorsTemp=n/a
"""
PARTITIONS_23 = """\
PartitionName=h100 AllowGroups=ALL AllowAccounts=vision AllowQos=ALL AllocNodes=ALL Default=NO QoS=N/A \
DefaultTime=01:00:00 DisableRootJobs=NO ExclusiveUser=NO GraceTime=0 Hidden=NO MaxNodes=UNLIMITED MaxTime=7-12:30:00 \
MinNodes=0 LLN=NO MaxCPUsPerNode=UNLIMITED MaxCPUsPerSocket=UNLIMITED Nodes=hopper1 PriorityJobFactor=1 \
PriorityTier=1 RootOnly=NO ReqResv=NO OverSubscribe=NO OverTimeLimit=NONE PreemptMode=OFF State=UP TotalCPUs=256 \
TotalNodes=1 SelectTypeParameters=NONE JobDefaults=(null) DefMemPerCPU=2000 MaxMemPerNode=UNLIMITED \
TRES=cpu=224,mem=515656M,node=1,billing=224 ResumeTimeout=GLOBAL SuspendTimeout=GLOBAL SuspendTime=GLOBAL \
PowerDownOnIdle=NO
"""


def test_nodes_of_slurm_22_05():
    assert parse_nodes(NODES_22) == [
        Node("gpu01", (("a6000", 1),), 4, 6000, ("a6000", "48g"), ("gpu", "urgent"), "IDLE"),
        Node("cpu-1", (), 4, 6000, (), ("cpu", "urgent"), "DOWN*+DRAIN"),
    ]


def test_partitions_of_slurm_22_05():
    assert parse_partitions(PARTITIONS_22) == [
        Partition("cpu", 1440, 1, True),
        Partition("gpu", None, 1, True),
        Partition("urgent", 150, 10, True),
    ]


def test_slurm_23_11_keeps_cores_and_memory_for_the_system():
    gpus = (("nvidia_h100_80gb_hbm3", 4),)
    assert parse_nodes(NODES_23) == [
        Node("hopper1", gpus, 224, 515656 - 32768, ("h100", "ib"), ("all", "h100"), "MIXED+PLANNED")
    ]
    assert parse_partitions(PARTITIONS_23) == [Partition("h100", 7 * 1440 + 750, 1, False)]


@pytest.mark.parametrize(
    ("gres", "gpus"),
    [
        ("(null)", ()),
        ("", ()),
        ("gpu:2", (("", 2),)),
        ("gpu:4090:8", (("4090", 8),)),
        ("mps:200,gpu:t4:1(S:0)", (("t4", 1),)),
        ("gpu:a100:2(S:0-1),gpu:v100:1(S:0,1)", (("a100", 2), ("v100", 1))),
    ],
)
def test_the_gpus_of_a_gres(gres, gpus):
    assert parse_nodes(f"NodeName=n CPUTot=2 RealMemory=9 Gres={gres} Partitions=p")[0].gpus == gpus


def test_a_line_that_is_no_node_is_named():
    with pytest.raises(TsumugiError, match=r"no CPUTot and RealMemory in the line 'NodeName=x"):
        parse_nodes("NodeName=x Arch=x86_64")
    with pytest.raises(TsumugiError, match="no MaxTime and PartitionName in the line 'slurm is"):
        parse_partitions("slurm is down")


# --- host patterns ---


@pytest.mark.parametrize(
    ("names", "patterns"),
    [
        (["node1"], ["node1"]),
        (["node1", "node2"], ["node[12]"]),
        (["node1", "node2", "node3", "node5"], ["node[1-35]"]),
        ([f"gpu{n:02d}" for n in range(1, 17)], ["gpu0[1-9]", "gpu1[0-6]"]),
        ([f"n{n}" for n in range(8, 12)], ["n1[01]", "n[89]"]),
        ([f"rack{r}-n{n}" for r in (1, 2) for n in range(4)], ["rack[12]-n[0-3]"]),
        ([f"node{n:03d}" for n in range(100)], ["node0[0-9][0-9]"]),
        (["login", "a-1", "b-1"], ["a-1", "b-1", "login"]),
    ],
)
def test_names_become_few_patterns(names, patterns):
    assert host_patterns(names) == patterns


NAMES = st.sets(st.from_regex(r"\A[ab]-?[0-9]{1,3}(-[0-9])?\Z"), min_size=1, max_size=20)


@settings(max_examples=50, deadline=None)
@given(names=NAMES, others=NAMES)
def test_patterns_match_the_names_and_no_other(names, others):
    patterns = host_patterns(names)
    assert len(patterns) <= len(names)
    for name in names | others:
        assert sum(fnmatch(name, pattern) for pattern in patterns) == (name in names)


# --- kinds ---


def node(name, gpus=(), features=(), partitions=("all",), memory_mb=64000, cpus=32, state="IDLE"):
    return Node(name, tuple(gpus), cpus, memory_mb, tuple(features), tuple(partitions), state)


A100, V100 = (("a100", 4),), (("v100", 8),)
LABORATORY = [
    *(node(f"gpu{n:02d}", A100, ("intel", "a100"), ("all", "gpu", "a100", "urgent")) for n in range(1, 11)),
    *(node(f"gpu{n}", V100, ("intel", "v100"), ("all", "gpu", "trial")) for n in range(11, 13)),
    *(node(f"cpu{n}", (), ("intel",), ("all", "cpu")) for n in range(1, 4)),
    node("spare", A100, ("a100",), ()),
]
PARTITIONS = [
    Partition("all", None, 1, True),
    Partition("gpu", 3 * 1440, 1, True),
    Partition("a100", None, 1, True),
    Partition("cpu", 1440, 1, True),
    Partition("urgent", None, 9, True),
    Partition("trial", 30, 1, True),
]


def test_nodes_that_are_alike_become_a_kind():
    groups = group_nodes(LABORATORY, PARTITIONS)
    assert [(group.name, len(group.nodes), group.gpus, group.gpu_type) for group in groups] == [
        ("a100", 10, 4, "a100"),
        ("v100", 2, 8, "v100"),
        ("cpu", 3, 0, ""),
    ]
    assert [group.partition.name for group in groups] == ["gpu", "gpu", "cpu"]
    assert [group.constraint for group in groups] == ["a100", "v100", None]


@pytest.mark.parametrize(
    ("partitions", "chosen"),
    [
        ([("p", None, 5, True), ("q", None, 1, True)], "q"),
        ([("p", None, 1, False), ("q", None, 5, True)], "q"),
        ([("p", 30, 1, True), ("q", 2000, 1, True)], "q"),
        ([("p", None, 5, False)], "p"),
        ([("p", None, 1, True), ("q", None, 1, True)], "p"),
    ],
)
def test_the_partition_of_a_kind(partitions, chosen):
    groups = group_nodes([node("n", partitions=["p", "q"])], [Partition(*partition) for partition in partitions])
    assert groups[0].partition.name == chosen


def test_kinds_that_would_share_a_name_are_numbered():
    nodes = [node("a", A100), node("b", A100, memory_mb=1), node("c", [("", 2)]), node("d", [("a 100!", 1)])]
    groups = group_nodes(nodes, [Partition("all", None, 1, True)])
    assert [group.name for group in groups] == ["a100", "a100-2", "gpu", "a-100"]


def test_a_node_with_two_types_of_gpus_is_of_two_kinds():
    groups = group_nodes([node("n", [("a100", 2), ("t4", 1)], ["own"])], [Partition("all", None, 1, True)])
    assert [(group.name, group.gpus, group.constraint) for group in groups] == [("a100", 2, "own"), ("t4", 1, "own")]


# --- the file ---


def filled_in(text):
    """What a person does with a draft."""
    text = text.replace(" gpu: null", " gpu: A100").replace("gpu_memory_gib: null", "gpu_memory_gib: 80")
    return text.replace("compute_capability: null", "compute_capability: 8.0")


def test_the_draft_is_an_inventory_once_it_is_filled_in(tmp_path):
    text = draft_text(group_nodes(LABORATORY, PARTITIONS), {}, LABORATORY)
    path = tmp_path / "nodes.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(TsumugiError, match=r"kinds\.a100: a kind with GPUs needs .* `nvidia-smi --query-gpu=name"):
        load_inventory(path)
    path.write_text(filled_in(text), encoding="utf-8")
    inventory = load_inventory(path)
    assert list(inventory.kinds) == ["a100", "v100", "cpu"]
    kind = inventory.kinds["a100"]
    assert (kind.nodes, kind.hosts, kind.gpus, kind.cpus, kind.memory_gib) == (10, ("gpu0[1-9]", "gpu10"), 4, 32, 62.5)
    assert (kind.partition, kind.constraint, kind.gres, kind.max_hours) == ("gpu", "a100", "gpu:a100", 72)
    needs = Needs(world_size=40)
    assert make_request(inventory, needs, "compute.needs.big", Defaults(64000, 60)).kinds == ("a100",)
    assert all("#" in line for line in text.splitlines() if re.match(r"    \w+:", line)), (
        "each value says where it is from"
    )
    assert text.endswith("# left out, for they are in no partition: spare\n")


def test_what_a_node_said_stands_in_the_draft():
    answers = {
        "a100": parse_answer(
            "gpu03", "gpu: NVIDIA A100-SXM4-80GB, 81920 MiB, 8.0\nlink: eth0 25000\nlink: eth1 1000\n"
        ),
        "v100": Answer("gpu11", problem="all nodes busy"),
        "cpu": parse_answer("cpu1", "link: eth0 -1\n"),
    }
    text = draft_text(group_nodes(LABORATORY, PARTITIONS), answers, LABORATORY)
    kinds = yaml.safe_load(text)["kinds"]
    keys = ("gpu", "gpu_memory_gib", "compute_capability", "network_gbit")
    assert [kinds["a100"][key] for key in keys] == ["NVIDIA A100-SXM4-80GB", 80, 8.0, 25]
    assert [kinds["v100"][key] for key in keys] == [None] * 4
    assert "gpu_memory_gib: 80 " in text
    assert "gpu: null                      # fill in: nvidia-smi" in text
    assert "on gpu11 (asked: all nodes busy)" in text
    assert "on cpu1, Mbit/s, or ethtool (asked: no link there says its speed)" in text


def test_nodes_that_are_down_are_not_waited_for():
    nodes = [node("n1", A100, state="DOWN*"), node("n2", A100, state="IDLE+DRAIN")]
    answer = ask_node(group_nodes(nodes, [Partition("all", None, 1, True)])[0])
    assert answer == Answer("n1", problem="no node of this kind is up (n1: DOWN*)")


def test_memory_is_as_sold_and_old_drivers_say_less():
    assert parse_answer("n", "gpu: NVIDIA RTX A6000, 49140 MiB, 8.6\ngpu: Other, 1 MiB, 9.0").gpu_memory_gib == 48
    answer = parse_answer("n", "gpu: Tesla V100-SXM2-32GB, 32510 MiB\n")
    assert (answer.gpu, answer.gpu_memory_gib, answer.compute_capability) == ("Tesla V100-SXM2-32GB", 32, None)
    assert parse_answer("n", "gpu: NVIDIA GB10, [N/A], 12.1\n") == Answer("n")


def test_names_stay_names_and_types_that_cannot_be_asked_for_are_said(tmp_path):
    nodes = [
        node("a", [("4090", 2)], ["8.6"], ["1"]),
        node("b", [("nvidia_a100-pcie-40gb", 1)], ["x|y", "on"], ["1"], memory_mb=5999),
    ]
    text = draft_text(group_nodes(nodes, [Partition("1", 100, 1, True)]), {}, nodes)
    (tmp_path / "nodes.yaml").write_text(filled_in(text), encoding="utf-8")
    kinds = load_inventory(tmp_path / "nodes.yaml").kinds
    assert (kinds["4090"].constraint, kinds["4090"].gres, kinds["4090"].partition) == ("8.6", "gpu:4090", "1")
    other = kinds["nvidia_a100-pcie-40gb"]
    assert (other.constraint, other.gres, other.max_hours) == ("on", "gpu", 1.667)
    assert "gpu:nvidia_a100-pcie-40gb cannot be asked for through Snakemake" in text
    request = make_request(load_inventory(tmp_path / "nodes.yaml"), Needs(), "r", Defaults(5999, 100))
    assert (request.partition, request.share.mem_mb, request.minutes) == (
        "1",
        5999,
        100,
    )  # what Slurm showed is not rounded away


# --- the command ---


def draft(*arguments, path=os.environ["PATH"], **environment):
    return subprocess.run(
        [sys.executable, SCRIPT, *arguments],
        capture_output=True,
        text=True,
        env=os.environ | {"PATH": str(path)} | environment,
    )


def test_without_slurm_the_command_says_where_to_run_it(tmp_path):
    done = draft(path=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: there is no scontrol on the PATH; run this where jobs are submitted")


def test_a_file_is_never_overwritten(tmp_path):
    output = tmp_path / "nodes.yaml"
    output.write_text("kinds: mine\n")
    done = draft("--output", output, path=tmp_path)
    assert done.returncode == 1
    assert f"{output}: is there already, and is not overwritten; name another file" in done.stderr
    assert output.read_text() == "kinds: mine\n"
