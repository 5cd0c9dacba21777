"""The inventory against what Slurm says, jobs that can never start, and what is said of those that wait."""

import pytest

from tsumugi.cluster.inventory import Inventory
from tsumugi.slurm.feasibility import Asked, candidates, why_never
from tsumugi.slurm.inventory_check import compare, remarks
from tsumugi.slurm.scontrol import parse_nodes, parse_partitions
from tsumugi.slurm.start_check import asked_for
from tsumugi.slurm.stuck_jobs import explain, parse_waiting

# Versions 22.05 to 25.05 differ in what they add; a node registered by itself, one in the cloud, MIG, shards.
NODES = parse_nodes(
    """\
NodeName=g1 Arch=x86_64 CPUAlloc=0 CPUEfctv=16 CPUTot=16 AvailableFeatures=a100,ib ActiveFeatures=a100,ib \
Gres=gpu:a100:4(S:0-1) NodeAddr=g1 RealMemory=256000 State=IDLE Partitions=long,short
NodeName=g2 Arch=x86_64 CPUAlloc=0 CPUEfctv=16 CPUTot=16 AvailableFeatures=a100,ib ActiveFeatures=a100,ib \
Gres=gpu:a100:4(S:0-1),shard:a100:16(S:0-1) RealMemory=256000 State=DOWN*+DRAIN Partitions=long,short Reason=fan, Gres=x
NodeName=m1 CPUEfctv=62 CPUTot=64 AvailableFeatures=mig ActiveFeatures=mig \
Gres=gpu:1g.10gb:7(S:0),gpu:a100:1 RealMemory=500000 MemSpecLimit=2000 State=IDLE+DYNAMIC_NORM Partitions=short \
InstanceId=(null) InstanceType=(null)
NodeName=v1 CPUTot=8 AvailableFeatures=(null) ActiveFeatures=(null) Gres=gpu:2 RealMemory=64000 \
State=IDLE+CLOUD+POWERED_DOWN Partitions=old TopologyName=default
NodeName=c1 CPUTot=8 ActiveFeatures=avx Gres=(null) RealMemory=32000 State=MIXED Partitions=cpu
NodeName=c2 CPUTot=8 ActiveFeatures=avx Gres=craynetwork:4 RealMemory=32000 State=MIXED Partitions=cpu
"""
)
PARTITIONS = parse_partitions(
    """\
PartitionName=long Default=NO MaxTime=3-00:00:00 MaxNodes=1 PriorityTier=1 State=UP
PartitionName=short Default=NO MaxTime=08:00:00 MaxNodes=UNLIMITED PriorityTier=1 State=UP
PartitionName=old Default=NO MaxTime=UNLIMITED PriorityTier=1 State=INACTIVE
PartitionName=cpu Default=YES MaxTime=1-00:00:00 PriorityTier=1 State=DOWN AllowGroups=nobody-at-all
"""
)
A100 = {"gpus": 4, "gpu": "A100", "gpu_memory_gib": 40, "nodes": 2, "cpus": 16, "memory_gib": 250, "hosts": ["g*"]}
TRUE = {
    "a100": A100
    | {"partition": ["long", "short"], "max_hours": {"long": 72, "short": 8}, "constraint": "a100", "gres": "gpu:a100"},
    "slices": A100
    | {"gpus": 7, "nodes": 1, "cpus": 62, "memory_gib": 486, "hosts": ["m1"], "partition": "short", "max_hours": 8}
    | {"gres": "gpu:1g.10gb", "constraint": "mig"},
    "old": A100 | {"gpus": 2, "nodes": 1, "cpus": 8, "memory_gib": 62.5, "hosts": ["v1"], "partition": "old"},
    "cpu": {"gpus": 0, "nodes": 2, "cpus": 8, "memory_gib": 31, "hosts": ["c[1-2]"], "max_hours": 24},
}


def differences(change):
    kinds = {name: kind | change.get(name, {}) for name, kind in TRUE.items()}
    return [str(one) for one in compare(Inventory.model_validate({"kinds": kinds}), NODES, PARTITIONS)]


def test_a_true_inventory_has_no_difference():
    assert differences({}) == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            {"a100": {"partition": ["long", "shrt"], "max_hours": {"long": 72}}},
            ["kinds.a100.partition: Slurm has no partition 'shrt'; it has: long, short, old, cpu"],
        ),
        (
            {"old": {"partition": "long", "max_hours": 72}},
            ["kinds.old.partition: v1 not in long, but in old"],
        ),
        (
            {"old": {"partition": None, "max_hours": 24}},
            ["kinds.old.partition: null, and so Slurm's default; v1 not in cpu, but in old"],
        ),
        (
            {"a100": {"constraint": "A100"}},
            ["kinds.a100.constraint: no node has the feature 'A100'; there are: a100, ib"],
        ),
        ({"slices": {"constraint": "ib"}}, ["kinds.slices.constraint: m1 without the feature 'ib'; there are: mig"]),
        ({"a100": {"gres": "gpu:h100"}}, ["kinds.a100.gres: gpu:h100, and Slurm has gpu:a100:4 on g[12]"]),
        ({"a100": {"gpus": 8}}, ["kinds.a100.gpus: 8, and Slurm has gpu:a100:4 on g[12]"]),
        ({"slices": {"gpus": 8}}, ["kinds.slices.gpus: 8, and Slurm has gpu:1g.10gb:7, gpu:a100:1 on m1"]),
        ({"old": {"gpus": 4}}, ["kinds.old.gpus: 4, and Slurm has gpu:2 on v1"]),
        (
            {"cpu": {"gpus": 1, "gpu": "G", "gpu_memory_gib": 1}},
            ["kinds.cpu.gpus: 1, and Slurm has no GPU (Gres) on c[12]"],
        ),
        ({"a100": {"cpus": 64}}, ["kinds.a100.cpus: 64, and Slurm has 16 on g[12]"]),
        ({"slices": {"cpus": 64}}, ["kinds.slices.cpus: 64, and Slurm has 62 on m1"]),  # two are the system's
        ({"a100": {"memory_gib": 251}}, ["kinds.a100.memory_gib: 251, and Slurm has 250 (256000 MiB) on g[12]"]),
        ({"cpu": {"memory_gib": 16}}, ["kinds.cpu.memory_gib: 16, and Slurm has 31.25 (32000 MiB) on c[12]"]),
        ({"cpu": {"max_hours": None}}, ["kinds.cpu.max_hours: null, and partition cpu gives 24 hours (MaxTime)"]),
        (
            {"a100": {"max_hours": 72}},
            ["kinds.a100.max_hours: 72, and partition short gives 8 hours (MaxTime)"],
        ),
        ({"old": {"max_hours": 5}}, ["kinds.old.max_hours: 5, and partition old gives no limit (MaxTime)"]),
        ({"cpu": {"nodes": 3}}, ["kinds.cpu.nodes: 3, and hosts fit 2: c[12]"]),
        (
            {"cpu": {"hosts": ["c[1-2]", "cpu*"]}},
            ["kinds.cpu.hosts: no node of Slurm is called 'cpu*'; its nodes are: c[12] g[12] m1 v1"],
        ),
        (
            {"cpu": {"hosts": ["c1"], "nodes": 1}},
            ["kinds.cpu.hosts: without c2, where jobs for this kind may land; no other kind has them either"],
        ),
        (
            {"cpu": {"hosts": [], "constraint": "ib"}},
            ["kinds.cpu.constraint: no node has all of: partition of Slurm, the default one, feature ib, no GPU"],
        ),
    ],
)
def test_each_difference_is_named_by_its_key(change, expected):
    assert differences(change) == expected


def test_without_hosts_the_nodes_are_those_that_jobs_reach():
    bare = {name: {"hosts": []} for name in TRUE}
    assert differences(bare) == []
    assert differences(bare | {"a100": {"hosts": [], "nodes": 3}}) == [
        "kinds.a100.nodes: 3, and partition, constraint and gres fit 2: g[12]"
    ]


def test_what_is_away_is_a_remark_and_no_difference():
    said = remarks(
        Inventory.model_validate({"kinds": TRUE | {"cpu": TRUE["cpu"] | {"partition": "cpu"}}}), NODES, PARTITIONS
    )
    assert "partition old is INACTIVE" in said and "partition cpu is DOWN" in said
    assert "node g2 is DOWN*+DRAIN: scontrol show node g2 says why" in said
    assert not any("v1" in line or "m1" in line for line in said), "a node that sleeps is woken"


# --- jobs ---


@pytest.mark.parametrize(
    "asked",
    [
        Asked(("long", "short"), "a100", "gpu:a100:4", 1, 16, 256000, 4320),
        Asked(("short",), "a100|mig", "gpu:1", 2, minutes=480),
        Asked(("short",), "[a100*2&mig*1]", "gpu:1", 3),
        Asked(("short",), "[a100|mig]", "gpu:1", 2),
        Asked(("short",), "a100&ib", "gpu:a100:2"),
        Asked(("short",), None, "gpu:8"),  # of both types together
        Asked((), "avx", None, 2, 8),
        Asked(("cpu",)),
        Asked(("short",), "(a100|mig)&ib", "gpu:1"),  # a form that is not understood is left to Slurm
        Asked(("cpu",), gres="license:3"),
    ],
)
def test_what_can_start_one_day_is_left_alone(asked):
    assert why_never(asked, NODES, PARTITIONS) is None


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (Asked(("lang",)), "Slurm has no partition lang; there are: long, short, old, cpu"),
        (Asked(("old",)), "partition old takes no jobs (INACTIVE)"),
        (Asked(("short",), "h100|a100"), "no node has the feature h100; there are: a100, avx, ib, mig"),
        (Asked(("long",), minutes=4321), "it asks for 72.02 hours, and partition long gives 72"),
        (
            Asked(("long", "short"), minutes=5000),
            "it asks for 83.33 hours, and partition long gives 72; it asks for 83.33 hours, and partition short gives",
        ),
        (Asked(("long",), nodes=2), "it asks for 2 nodes, and partition long gives a job 1"),
        (
            Asked(("short",), "a100", "gpu:h100:1"),
            "partition short has no node(s) with gpu:h100:1, and 1 are needed; there are: gpu:a100:4",
        ),
        (
            Asked(("short",), None, "gpu:1g.10gb:8"),
            "partition short has no node(s) with gpu:1g.10gb:8, and 1 are needed; there are: gpu:1g.10gb:7, ",
        ),
        (
            Asked(("short",), "avx"),
            "partition short has no node(s) with the feature avx, and 1 are needed; there are: a10",
        ),
        (Asked(("cpu",), cpus=9), "partition cpu has no node(s) with 9 CPUs, and 1 are needed; there are: 8 CPUs"),
        (
            Asked(("cpu",), mem_mb=32001),
            "partition cpu has no node(s) with 32,001 MiB of memory, and 1 are needed; there",
        ),
        (Asked(("cpu",), nodes=3), "partition cpu has 2 node(s), and 3 are needed"),
        (
            Asked(("short",), "[a100*3&mig*1]", nodes=3),
            "partition short has 2 such node(s) with the feature a100, and 3",
        ),
        (
            Asked(("short",), "[mig|avx]", nodes=2),
            "partition short has 1 node(s) with the feature mig or avx, and 2 are needed",
        ),
    ],
)
def test_what_can_never_start_is_said_with_what_there_is(asked, reason):
    assert why_never(asked, NODES, PARTITIONS).startswith(reason)


def test_without_a_default_partition_a_job_names_one():
    assert "Slurm has no default one; there are: long" in why_never(Asked(), NODES, PARTITIONS[:1])


def test_a_job_asks_for_what_its_resources_say():
    resources = {"slurm_partition": "a,b", "gres": "gpu:2", "nodes": 2, "mem_mb": 5, "shared_mem_mb": 5, "runtime": 60}
    assert asked_for(resources, 4) == Asked(("a", "b"), None, "gpu:2", 2, 4, 0, 60)
    assert asked_for({"mem_mb": 5}, 1) == Asked(mem_mb=5)


def test_nodes_that_are_down_could_take_a_job():
    assert [node.name for node in candidates(Asked(("long",), "a100"), NODES, PARTITIONS)] == ["g1", "g2"]


def waiting(reason, partition="short", features="(null)", gres="N/A", nodes="1", limit="8:00:00", memory="500M"):
    comment = "rule_train_model_wildcards_t5-base_42 tsumugi:0"
    return parse_waiting("12", reason, partition, features, gres, nodes, "1", memory, limit, comment)


def test_squeue_of_several_versions_says_the_same():
    old = waiting("Resources", "a,b", "x|y", "gres:gpu:a100:2", "2-4", "1-00:00:00", "4G")
    new = waiting("Resources", "a,b", "x|y", "gres/gpu:a100=2", "2", "1440:00", "4096M")
    assert old == new
    assert old.asked == Asked(("a", "b"), "x|y", "gpu:a100:2", 2, 1, 4096, 1440)
    assert old.name == "train_model t5-base_42"
    assert waiting("Resources", limit="UNLIMITED").asked.minutes is None
    assert waiting("Resources", memory="2000Mc").asked.mem_mb == 0


@pytest.mark.parametrize(
    ("job", "said"),
    [
        (
            waiting("PartitionTimeLimit", limit="9:00:00"),
            "it asks for 9 hours, and partition short gives 8. Cancel it with",
        ),
        (waiting("ReqNodeNotAvail, UnavailableNodes:g1", gres="gres:gpu:h100:1"), "no node(s) with gpu:h100:1"),
        (waiting("ReqNodeNotAvail, May be reserved for other job", features="nope"), "no node has the feature nope"),
        (waiting("PartitionNodeLimit", "long", nodes="2", limit="1:00"), "2 nodes, and partition long gives a job 1"),
        (waiting("BadConstraints"), "can never start (BadConstraints): no node has what it asks for. Cancel it"),
        (waiting("QOSMaxGRESPerJob"), "more than your account or its QOS gives a single job"),
        (waiting("AssocMaxWallDurationPerJobLimit"), "more than your account or its QOS gives a single job"),
        (waiting("QOSMinGRES"), "more than your account"),
        (waiting("MaxMemPerLimit"), "more than your account"),
        (waiting("DependencyNeverSatisfied"), "the job that it waits for has failed. Cancel it with `scancel 12`"),
        (waiting("InvalidQOS"), "may not use this partition"),
        (
            waiting("JobHeldUser"),
            "does not start by itself (JobHeldUser): it is held; let it go with `scontrol release 12`",
        ),
        (waiting("launch failed requeued held"), "`scontrol release 12`"),
        (waiting("AssocGrpGRES"), "never if it alone asks for more than that limit"),
    ],
)
def test_a_job_that_does_not_start_by_itself_is_explained(job, said):
    line = explain(job, NODES, PARTITIONS)
    assert line.startswith("SLURM job 12 (train_model t5-base_42) ") and said in line


@pytest.mark.parametrize(
    "reason",
    [
        "Resources",
        "Priority",
        "None",
        "BeginTime",
        "Dependency",
        "QOSMaxJobsPerUserLimit",
        "AssocMaxJobsLimit",
        "Licenses",
    ],
)
def test_a_job_that_waits_for_its_turn_is_not_spoken_of(reason):
    assert explain(waiting(reason), NODES, PARTITIONS) is None


def test_a_limit_of_one_of_several_partitions_is_none():
    """Slurm gives the reason of the partition that it looked at last."""
    assert explain(waiting("PartitionTimeLimit", "long,short", limit="10:00:00"), NODES, PARTITIONS) is None


def test_nodes_that_are_down_are_named():
    away = explain(waiting("ReqNodeNotAvail, UnavailableNodes:g2", "short", "a100", nodes="2"), NODES, PARTITIONS)
    assert "waits for nodes that are down or drained (ReqNodeNotAvail, UnavailableNodes:g2): g2; `sinfo -R`" in away
