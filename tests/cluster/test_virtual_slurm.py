"""The virtual Slurm itself: what it offers the other tests, and that it leaves the machine alone."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from slurm_bed.cluster import HOSTS, VirtualSlurm
from slurm_bed.errors import BedError
from slurm_bed.hosts import processes
from slurm_bed.packages import signs_of_a_cluster

COMMAND = Path(__file__).with_name("virtual_slurm.py")
BOTH_KINDS = ("--nodes=2", "--partition=gpu", "--gres=gpu:1", "--constraint=[48g*1&32g*1]", "--ntasks-per-node=1")
LISTENING = "0A"  # a state in /proc/net/tcp


def submit(cluster, folder, script, *options):
    """Submit a shell script; return its job id. It runs in ``folder``."""
    (folder / "job.sh").write_text(f"#!/bin/sh\n{script}\n")
    line = ["sbatch", "--parsable", f"--chdir={folder}", "--open-mode=append", "--output=output"]
    return cluster.run(*line, *options, folder / "job.sh").stdout.strip()


def virtual_slurm(*arguments, **environment):
    """Run the command line; a variable that is None is taken out of its environment."""
    variables = {name: value for name, value in (os.environ | environment).items() if value is not None}
    return subprocess.run([sys.executable, COMMAND, *arguments], capture_output=True, text=True, env=variables)


def files_of_the_machine():
    """The files of the machine's own Slurm and munge, with what a change would change."""
    found = {}
    for folder in ("/etc/slurm", "/etc/munge", "/etc/mysql", "/var/lib/slurm", "/var/log/slurm", "/var/lib/mysql"):
        for path in [Path(folder), *Path(folder).rglob("*")]:
            if path.exists():
                state = path.stat()
                found[str(path)] = (state.st_mode, state.st_uid, state.st_size, state.st_mtime_ns)
    return found


def listening_addresses(pids):
    """The addresses, in the kernel's notation, at which these processes wait for TCP connections."""
    links = set()
    for pid in pids:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            if descriptor.is_symlink():
                links.add(os.readlink(descriptor))
    rows = [line.split() for version in ("tcp", "tcp6") for line in Path("/proc/net", version).read_text().splitlines()]
    return {row[1].split(":")[0] for row in rows if row[3] == LISTENING and f"socket:[{row[9]}]" in links}


def runs(pid_file):
    """Does the process still run? (One that has ended but was not yet waited for has no ``exe``.)"""
    return Path("/proc", pid_file.read_text().strip(), "exe").exists()


def states(cluster, job):
    """How the job's runs ended, in order."""
    return cluster.run("sacct", "--duplicates", "-X", "-n", "-P", "-j", job, "-o", "State").stdout.split()


def test_the_nodes_are_as_described(cluster):
    assert set(cluster.node_states()) == {"a48-1", "v32-1", "cpu-1"}
    lines = cluster.run("sinfo", "-h", "-N", "-o", "%N|%P|%c|%m|%G|%f").stdout.split()
    assert {line for line in lines if "|urgent|" not in line} == {
        "a48-1|gpu|4|16000|gpu:a6000:1|a6000,48g",
        "v32-1|gpu|4|16000|gpu:v100:2|v100,32g",
        "cpu-1|cpu*|4|16000|(null)|cpu",
    }


def test_one_job_runs_on_both_kinds_and_the_accounts_know(cluster):
    done = cluster.run("srun", *BOTH_KINDS, "sh", "-c", "echo $SLURM_JOB_ID $SLURMD_NODENAME $(hostname) $SLURM_CONF")
    (job, *first), (_, *second) = sorted(line.split() for line in done.stdout.splitlines())
    conf = cluster.variables["SLURM_CONF"]
    assert [first, second] == [["a48-1", "a48-1", conf], ["v32-1", "v32-1", conf]]
    cluster.wait_for_job(job, "COMPLETED")
    assert cluster.sacct(job, "NodeList") == "a48-1,v32-1"
    assert "gres/gpu=2" in cluster.sacct(job, "AllocTRES")


def test_every_gpu_of_a_node_can_be_asked_for(cluster):
    seen = cluster.run("srun", "--partition=gpu", "--gres=gpu:v100:2", "printenv", "CUDA_VISIBLE_DEVICES").stdout
    assert seen.strip() == "0,1"


def test_a_job_without_the_users_environment_finds_the_same_slurm(cluster):
    """``--export=NONE`` takes SLURM_CONF away; the machine's own configuration must not show through."""
    done = cluster.run("srun", "--export=NONE", "/bin/sh", "-c", "scontrol show config")
    assert f"StateSaveLocation       = {cluster.folder}/state" in done.stdout


def test_a_job_on_a_dead_node_is_requeued_and_ends_when_the_node_is_back(cluster, tmp_path):
    script = "[ -e again ] && exit; touch again; setsid sleep 600 & echo $! > sleeper; wait"
    job = submit(cluster, tmp_path, script, "--partition=gpu", "--nodelist=v32-1", "--requeue")
    cluster.wait_until("the job runs", (tmp_path / "sleeper").exists)
    cluster.kill_node("v32-1")
    try:
        assert not processes(cluster.folder, "v32-1")
        assert not runs(tmp_path / "sleeper"), "a daemon of the job goes too"
        cluster.wait_until("the node is down", lambda: cluster.node_states()["v32-1"] == "down*", seconds=90)
    finally:
        cluster.revive_node("v32-1")
    cluster.wait_for_job(job, "COMPLETED")
    assert states(cluster, job) == ["NODE_FAIL", "COMPLETED"]


def test_a_job_outlives_its_controller(cluster, tmp_path):
    job = submit(cluster, tmp_path, "touch begun; while [ ! -e go ]; do sleep 0.2; done; echo once")
    cluster.wait_until("the job runs", (tmp_path / "begun").exists)
    cluster.restart_controller(away=2)
    (tmp_path / "go").touch()
    cluster.wait_for_job(job, "COMPLETED")
    assert (tmp_path / "output").read_text() == "once\n"


def test_the_urgent_partition_preempts_and_the_job_runs_again(cluster, tmp_path):
    script = "[ -e begun ] && exit; trap 'touch warned; exit' TERM; touch begun; while :; do sleep 0.2; done"
    job = submit(cluster, tmp_path, script, "--nodelist=cpu-1", "--exclusive")
    cluster.wait_until("the job runs", (tmp_path / "begun").exists)
    cluster.run("srun", "--partition=urgent", "--nodelist=cpu-1", "--exclusive", "true")
    assert (tmp_path / "warned").exists(), "SIGTERM comes before SIGKILL"
    cluster.wait_for_job(job, "COMPLETED")
    assert states(cluster, job) == ["PREEMPTED", "COMPLETED"]


def test_a_second_one_beside_it_touches_neither_the_first_nor_the_machine(cluster, tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("beside")  # a short name: sockets lie below it
    machine, mounts = files_of_the_machine(), Path("/proc/self/mountinfo").read_text()
    daemons = {host: processes(cluster.folder, host) for host in HOSTS}
    other = VirtualSlurm(tmp_path / "other")
    other.start()
    try:
        every = set().union(*(processes(other.folder, host) for host in HOSTS))
        assert listening_addresses(every) == {"0100007F"}, "127.0.0.1 only"
        job = submit(other, tmp_path, "setsid sleep 600 & echo $! > sleeper; wait", "--nodelist=cpu-1")
        other.wait_until("the job runs", (tmp_path / "sleeper").exists)
        assert job not in cluster.run("squeue", "-h", "-o", "%A").stdout.split()
        # Its step and what the step started outlive the daemon, and must not outlive the cluster.
        os.kill(int((other.folder / "pid/slurmd.cpu-1.pid").read_text()), signal.SIGKILL)
        with pytest.raises(BedError, match="runs already"):
            other.start()
    finally:
        other.stop()
    assert not any(processes(other.folder, host) for host in HOSTS)
    assert not runs(tmp_path / "sleeper")
    assert {host: processes(cluster.folder, host) for host in HOSTS} == daemons
    assert cluster.run("srun", "hostname").stdout == "cpu-1\n"
    assert (files_of_the_machine(), Path("/proc/self/mountinfo").read_text()) == (machine, mounts)


def test_the_command_line_sets_up_a_shell(cluster):
    done = virtual_slurm("env", cluster.folder)
    shown = cluster.run("sh", "-c", f"unset SLURM_CONF; {done.stdout} sinfo --noheader --format=%R").stdout
    assert shown.split() == ["cpu", "gpu", "urgent"]


@pytest.mark.parametrize("action", [("start",), ("stop",), ("kill-node", "a48-1")], ids=lambda action: action[0])
def test_a_folder_of_others_is_refused_and_left_as_it_is(tmp_path, action):
    (tmp_path / "slurm.conf").write_text("precious")
    done = virtual_slurm(action[0], tmp_path, *action[1:])
    assert (done.returncode, done.stderr[:6]) == (1, "error:")
    assert "is not the folder of a virtual Slurm" in done.stderr
    assert [path.read_text() for path in tmp_path.iterdir()] == ["precious"]


def test_a_folder_with_a_long_name_is_refused(tmp_path):
    done = virtual_slurm("start", tmp_path / ("x" * 70))
    assert done.returncode == 1 and "at most 70 letters" in done.stderr


def test_a_node_that_does_not_exist_is_refused(cluster):
    done = virtual_slurm("kill-node", cluster.folder, "a48-2")
    assert done.returncode == 1 and "the nodes are a48-1, v32-1, cpu-1" in done.stderr


def test_without_root_it_says_so(tmp_path):
    script = f"import os, sys; sys.path.insert(0, {str(COMMAND.parent)!r}); import virtual_slurm; os.seteuid(65534)"
    script += f"; virtual_slurm.VirtualSlurm(virtual_slurm.Path({str(tmp_path / 'slurm')!r})).start()"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "BedError: a virtual Slurm needs root" in done.stderr
    assert not (tmp_path / "slurm").exists()


def test_missing_packages_are_named_and_not_installed_on_a_real_cluster(tmp_path):
    """In a mount namespace of its own, sbatch is not there, and then there is a slurm.conf too."""
    hide = 'mount --bind /dev/null "$(readlink -f "$(command -v sbatch)")" && '
    conf = 'mount --bind "$0" /etc/slurm && '

    def without_sbatch(mounts, action, *arguments, **environment):
        line = ["unshare", "--mount", "sh", "-c", f'{mounts} exec "$@"', tmp_path / "etc", sys.executable, COMMAND]
        return subprocess.run(
            [*line, action, *arguments], capture_output=True, text=True, env=os.environ | environment
        ).stderr

    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/slurm.conf").touch()
    (tmp_path / "slurm.conf").touch()
    assert "packages are missing: slurm-client; `python" in without_sbatch(hide, "start", tmp_path / "slurm")
    refused = "packages are missing: slurm-client; not installing them"
    by_file = without_sbatch(hide + conf, "install")
    assert refused in by_file and "/etc/slurm/slurm.conf exists" in by_file
    for name, value in (("SLURM_JOB_ID", "7"), ("SLURM_CONF", str(tmp_path / "slurm.conf"))):
        assert refused in without_sbatch(hide, "install", **{name: value})


def test_its_own_daemons_are_no_sign_of_a_real_cluster(cluster, monkeypatch):
    monkeypatch.setenv("SLURM_CONF", cluster.variables["SLURM_CONF"])
    signs = " ".join(signs_of_a_cluster())
    assert "SLURM_CONF" not in signs
    assert not any(f"(process {pid})" in signs for host in HOSTS for pid in processes(cluster.folder, host))
