"""The inventory against a real Slurm: the command, the start of a run, and jobs that wait in vain."""

import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
import yaml

from failing_runs import PATIENCE
from through_slurm import ENVIRONMENT, NODES, command, snakemake, write_config
from tiny_experiment import ROOT, prepare
from tsumugi.slurm.stuck_jobs import StuckJobs

CHECK = ROOT / "scripts/check_inventory.py"


def changed(path, **kinds):
    """The tests' inventory with other values of some kinds."""
    inventory = yaml.safe_load(NODES.read_text(encoding="utf-8"))
    for name, change in kinds.items():
        inventory["kinds"][name] |= change
    path.write_text(yaml.safe_dump(inventory, sort_keys=False), encoding="utf-8")
    return path


@contextmanager
def other_settings(cluster, *lines):
    """Slurm with other settings, ``scontrol update`` and back."""
    for line, _ in lines:
        cluster.run("scontrol", "update", *line.split())
    try:
        yield
    finally:
        for _, line in lines:
            cluster.run("scontrol", "update", *line.split())


def check(cluster, path):
    done = subprocess.run([sys.executable, CHECK, path], capture_output=True, text=True, env=cluster.env)
    return done.returncode, done.stdout.replace(f"{path}: ", "").splitlines(), done.stderr


def test_the_command_names_each_difference_and_its_status_says_whether_there_is_one(cluster, tmp_path):
    assert check(cluster, NODES) == (0, [], "3 kind(s) compared with 3 node(s) of Slurm: no difference\n")
    wrong = changed(
        tmp_path / "nodes.yaml",
        a48={"constraint": "A6000", "gpus": 2, "hosts": ["a48-*", "a49-*"]},
        v32={"gres": "gpu:h100", "max_hours": 8},
        cpu={"partition": ["cpu", "fast"], "cpus": 64, "memory_gib": 16},
    )
    assert check(cluster, wrong) == (
        1,
        [
            "kinds.a48.hosts: no node of Slurm is called 'a49-*'; its nodes are: a48-1 cpu-1 v32-1",
            "kinds.a48.constraint: no node has the feature 'A6000'; there are: 48g, a6000",
            "kinds.a48.gpus: 2, and Slurm has gpu:a6000:1 on a48-1",
            "kinds.v32.max_hours: 8, and partition gpu gives no limit (MaxTime)",
            "kinds.v32.gres: gpu:h100, and Slurm has gpu:v100:2 on v32-1",
            "kinds.cpu.partition: Slurm has no partition 'fast'; it has: cpu, gpu, urgent",
            "kinds.cpu.cpus: 64, and Slurm has 4 on cpu-1",
            "kinds.cpu.memory_gib: 16, and Slurm has 15.625 (16000 MiB) on cpu-1",
        ],
        "3 kind(s) compared with 3 node(s) of Slurm: 8 difference(s)\n",
    )


def test_nodes_that_are_away_are_noted_and_no_difference(cluster):
    with other_settings(cluster, ("nodename=v32-1 state=drain reason=fan", "nodename=v32-1 state=resume")):
        status, lines, _ = check(cluster, NODES)
    assert (status, lines) == (0, ["note: node v32-1 is IDLE+DRAIN: scontrol show node v32-1 says why"])


@pytest.fixture
def folder(tmp_path):
    prepare(tmp_path / "work")
    return tmp_path / "work"


def test_a_run_whose_jobs_could_never_start_submits_nothing(cluster, folder, tmp_path):
    inventory = changed(tmp_path / "nodes.yaml", cpu={"partition": "cpus"}, a48={"gpus": 8})
    config = write_config(tmp_path / "experiment.yaml", {"inventory": str(inventory)})
    done = snakemake(cluster, folder, config, "corpora", check=False)
    assert done.returncode != 0
    assert "can never start on this cluster; nothing was submitted" in done.stdout
    assert "fetch_corpus notes" in done.stdout and "Slurm has no partition cpus; there are: cpu, gpu" in done.stdout
    assert f"{inventory}: kinds.cpu.partition: Slurm has no partition 'cpus'" in done.stdout
    assert "kinds.a48" not in done.stdout, "no job needs that kind"
    assert "has been submitted" not in done.stdout and "Traceback" not in done.stdout


def test_a_job_that_can_never_start_is_said_on_the_screen_while_snakemake_waits(cluster, folder, tmp_path):
    config, screen = write_config(tmp_path / "experiment.yaml", {}), tmp_path / "screen.txt"
    drained = ("nodename=cpu-1 state=drain reason=test", "nodename=cpu-1 state=resume")
    limit = ("partitionname=cpu maxtime=1", "partitionname=cpu maxtime=infinite")

    def said(text):
        end = time.monotonic() + PATIENCE
        while text not in screen.read_text(encoding="utf-8"):
            assert time.monotonic() < end and process.poll() is None, screen.read_text(encoding="utf-8")[-4000:]
            time.sleep(0.3)

    line = command(cluster, folder, config, "results/corpora/notes/raw.json")
    with other_settings(cluster, drained), screen.open("wb") as output:
        settings = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": subprocess.STDOUT}
        process = subprocess.Popen(line, cwd=ROOT, env=cluster.env | ENVIRONMENT, **settings)
        try:
            said("waits for nodes that are down or drained")
            with other_settings(cluster, limit):
                said("can never start (PartitionTimeLimit): it asks for 2 hours, and partition cpu gives 0.01667")
        finally:
            cluster.run("scancel", "--me")
            process.terminate()
            process.wait()
    words = screen.read_text(encoding="utf-8")
    assert "(fetch_corpus notes) can never start" in words
    assert words.count("can never start") == words.count("down or drained") == 1, "each is said once"


def test_jobs_that_wait_in_vain_are_told_from_those_that_wait_for_their_turn(cluster):
    def submit(*options):
        line = [
            "sbatch",
            "--parsable",
            "--time=90",
            "--comment=rule_it",
            "--output=/dev/null",
            *options,
            "--wrap=sleep 600",
        ]
        return cluster.run(*line).stdout.strip()

    def reasons():
        rows = cluster.run("squeue", "--noheader", "--states=PENDING", "--format=%i %r").stdout.splitlines()
        return dict(row.split(" ", 1) for row in rows)

    try:
        running = submit("--partition=gpu", "--exclusive", "--nodes=2")
        cluster.wait_until("it runs", lambda: running not in reasons())
        limit = ("partitionname=gpu maxtime=60", "partitionname=gpu maxtime=infinite")
        submit("--partition=gpu", "--gres=gpu:1")
        with other_settings(cluster, limit):
            late = submit("--partition=gpu", "--gres=gpu:1")
            either = submit("--partition=gpu,urgent", "--gres=gpu:1")
            held = submit("--partition=gpu", "--hold")
            cluster.wait_until("Slurm has looked at them", lambda: reasons().get(late) == "PartitionTimeLimit")
            stuck = StuckJobs()
            with pytest.MonkeyPatch.context() as patch:
                for name, value in cluster.variables.items():
                    patch.setenv(name, value)
                news = stuck.new_messages([late, either, held])
                assert stuck.new_messages([late, either, held]) == []
    finally:
        cluster.clear()
    starts = {
        f"SLURM job {late} (it) can never start (PartitionTimeLimit)",
        f"SLURM job {held} (it) does not start by ",
    }
    assert len(news) == 2 and all(any(line.startswith(start) for line in news) for start in starts), news
