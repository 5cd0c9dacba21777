"""What the virtual Slurm looks like: its nodes, and the configuration files of its daemons."""

import random
import socket
from dataclasses import dataclass
from pathlib import Path

MARK = "made-by-virtual-slurm"  # the file that says that a folder is ours to empty
HEAD = "head"
CLUSTER = "virtual"
PORTS = range(20000, 30000)  # below those that Linux hands out by itself: no client's socket sits on one by chance


@dataclass(frozen=True)
class Node:
    """One virtual node. ``devices``: character devices that every machine has; they stand in for GPUs."""

    name: str
    partition: str
    features: str
    gpu: str = ""
    devices: tuple[str, ...] = ()


NODES = (
    Node("a48-1", "gpu", "a6000,48g", "a6000", ("/dev/null",)),
    Node("v32-1", "gpu", "v100,32g", "v100", ("/dev/zero", "/dev/full")),
    Node("cpu-1", "cpu", "cpu"),
)

SLURM_CONF = """\
ClusterName={cluster}
SlurmctldHost={head}(127.0.0.1)
SlurmctldPort={controller_port}
# Every daemon and every srun listens on 127.0.0.1 only.
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
AuthType=auth/munge
# A requeued job waits until its old credential has expired: 120 s if nothing is said.
AuthInfo=socket={folder}/munge/socket,cred_expire=10
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/pid/slurmctld.pid
SlurmdPidFile={folder}/pid/slurmd.%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.%n.log
# Plain processes: no control groups, no process manager.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/none
MpiDefault=none
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={database_port}
# Not a password: with auth/munge this is the socket of the munged that slurmdbd trusts.
AccountingStoragePass={folder}/munge/socket
AccountingStorageTRES=gres/gpu
# Limits that a test sets with sacctmgr hold.
AccountingStorageEnforce=limits,qos
# The nodes have what is written here, whatever the machine has.
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=500
GresTypes=gpu
# On a busy machine a daemon may be slow to answer; a job whose launch is not confirmed in time would be held.
MessageTimeout=60
BatchStartTimeout=120
# Schedule at once.
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,batch_sched_delay=0,sched_min_interval=0,sched_interval=5
MinJobAge=60
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
# From SIGTERM to SIGKILL: time in which a trainer can save.
KillWait=10
UnkillableStepTimeout=30
# A dead node is noticed soon, and a revived one is used again without a word of an administrator.
SlurmdTimeout=15
SlurmctldTimeout=30
ReturnToService=2
{nodes}
PartitionName=cpu Nodes={cpu} Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=gpu Nodes={gpu} MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=REQUEUE
"""

SLURMDBD_CONF = """\
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
# It too listens on 127.0.0.1 only.
CommunicationParameters=NoInAddrAny
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={database_port}
SlurmUser=root
PidFile={folder}/pid/slurmdbd.pid
LogFile={folder}/log/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=slurm
"""


def write_configuration(folder: Path) -> None:
    """Write the daemons' configuration and the nodes' hosts files below ``folder``, with ports free now."""
    controller_port, database_port, *node_ports = free_ports(2 + len(NODES))
    values = {
        "folder": folder,
        "cluster": CLUSTER,
        "head": HEAD,
        "controller_port": controller_port,
        "database_port": database_port,
        "nodes": "\n".join(_node_line(node, port) for node, port in zip(NODES, node_ports, strict=True)),
    } | {part: ",".join(node.name for node in NODES if node.partition == part) for part in ("cpu", "gpu")}
    (folder / "conf/slurm.conf").write_text(SLURM_CONF.format(**values), encoding="utf-8")
    # Nothing here uses control groups; this plugin leaves them alone, while that of version 2 wants systemd.
    (folder / "conf/cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n", encoding="utf-8")
    database = folder / "conf/slurmdbd.conf"
    database.touch(0o600)  # slurmdbd refuses one that others can read
    database.write_text(SLURMDBD_CONF.format(**values), encoding="utf-8")
    devices = [f"NodeName={n.name} Name=gpu Type={n.gpu} File={device}" for n in NODES for device in n.devices]
    (folder / "conf/gres.conf").write_text("\n".join(["AutoDetect=off", *devices, ""]), encoding="utf-8")
    names = [HEAD, *(node.name for node in NODES)]
    hosts = "".join(f"127.0.0.1 {name}\n" for name in names) + Path("/etc/hosts").read_text(encoding="utf-8")
    for name in names:
        (folder / "hosts" / name).write_text(hosts, encoding="utf-8")


def free_ports(number: int) -> list[int]:
    """Ports of 127.0.0.1 on which nothing listens, at random places so that two clusters do not meet."""
    found: list[int] = []
    for port in random.SystemRandom().sample(PORTS, len(PORTS)):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == number:
            return found
    raise OSError(f"no {number} free ports between {PORTS.start} and {PORTS.stop}")


def _node_line(node: Node, port: int) -> str:
    # One address for all: with 127.0.1.N, an srun inside a job never hears from the other nodes (Slurm 22.05).
    line = f"NodeName={node.name} NodeHostname={node.name} NodeAddr=127.0.0.1 Port={port}"
    line += f" CPUs=4 RealMemory=16000 Feature={node.features} State=UNKNOWN"
    return line + (f" Gres=gpu:{node.gpu}:{len(node.devices)}" if node.devices else "")
