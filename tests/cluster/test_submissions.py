"""What Slurm refuses, and what a killed Snakemake has left there: nothing is lost, and nothing is done twice."""

import os
import signal
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
import yaml

from failing_runs import Scene
from slurm_bed.hosts import processes
from through_slurm import NODES, write_config
from tiny_experiment import prepare

CORPORA = ("one", "two", "three")  # read from the same files: what is submitted are short jobs that need nothing else
RAW = [f"results/corpora/{name}/raw.json" for name in CORPORA]


def with_corpora(config):
    notes = config["corpora"]["notes"]
    config["corpora"] |= {name: dict(notes) for name in CORPORA}


@pytest.fixture
def scene(cluster, tmp_path):
    """A folder with the user's files, whose jobs each make one corpus' raw.json."""
    files, folder = tmp_path / "files", tmp_path / "scene"
    files.mkdir()
    folder.mkdir()
    prepare(files)
    made = Scene(cluster, folder, write_config(folder / "experiment.yaml", {}, with_corpora), files)
    yield made
    made.close()
    cluster.clear()


@contextmanager
def changed(cluster, there, back):
    """Something is so within the block, and as before after it: arguments of sacctmgr or scontrol."""
    cluster.run(*there)
    try:
        yield
    finally:
        cluster.run(*back)


def jobs_at_most(cluster, number):
    """At most so many jobs of this user in Slurm."""
    user = ["sacctmgr", "--immediate", "modify", "user", "root", "where", "account=root", "set"]
    return changed(cluster, [*user, f"MaxSubmitJobs={number}"], [*user, "MaxSubmitJobs=-1"])


def nothing_starts(cluster, partition="cpu"):
    """Jobs of a partition wait."""
    of_partition = ["scontrol", "update", f"PartitionName={partition}"]
    return changed(cluster, [*of_partition, "State=DOWN"], [*of_partition, "State=UP"])


def held(scene, number):
    """Stop this many of the scene's scripts, whatever they do, as soon as they are there; returns their processes."""
    stopped = set()

    def all_stopped():
        for pid in processes(scene.cluster.folder, "cpu-1") - stopped:
            with suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                if b"python" in words[0] and any(word.endswith(b"/fetch_corpus.py") for word in words[1:2]):
                    os.kill(pid, signal.SIGSTOP)
                    stopped.add(pid)
        return len(stopped) >= number

    scene.wait("the scripts run", all_stopped, every=0.005)  # each is there for less than a second
    return stopped


def go_on(stopped):
    for pid in stopped:
        with suppress(ProcessLookupError):  # Slurm has ended it
            os.kill(pid, signal.SIGCONT)


def kill(process):
    """End Snakemake without warning."""
    process.kill()
    process.wait()


def start_again(scene, *arguments):
    """Start it in the folder that a killed one has left locked."""
    return scene.start("--nolock", *arguments)


def states(scene):
    return [start.state for start in scene.starts()]


# --- what Slurm refuses ---


def test_a_limit_on_submitted_jobs_is_waited_for_and_uses_up_no_retry(cluster, scene):
    with jobs_at_most(cluster, 2):
        assert scene.end(scene.start("--retries", "0", *RAW)) == 0, scene.said()[-4000:]
    assert states(scene) == ["COMPLETED"] * 3
    assert "Slurm takes no more jobs for now (AssocMaxSubmitJobLimit)" in scene.said()


def test_ctrl_c_ends_what_waits_and_what_is_in_slurm(cluster, scene):
    with jobs_at_most(cluster, 1), nothing_starts(cluster):
        main = scene.start(*RAW)
        scene.wait("one is taken, others are not", lambda: "Slurm takes no more jobs" in scene.said(), main)
        scene.wait("it is seen", lambda: scene.queue(), main)
        main.send_signal(signal.SIGINT)
        assert scene.end(main) == 1
        scene.wait("nothing is left", lambda: not scene.queue())
    scene.wait("the accounts know of it", lambda: states(scene))  # they lag behind
    assert len(states(scene)) == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["qos=nothing"], "Invalid qos specification"),  # what the start does not look at
        (["slurm_account=nobody"], "account nobody appears to be invalid"),
    ],
)
def test_what_slurm_will_never_take_is_refused_once(scene, options, said):
    options = [f"fetch_corpus:{option}" for option in options]
    assert scene.end(scene.start("--retries", "2", RAW[0], "--set-resources", *options)) == 1
    assert said in scene.said() and scene.said().count("This error is not retried") == 1
    assert "Trying to restart" not in scene.said() and not states(scene)


# --- what a killed Snakemake has left ---


@pytest.mark.parametrize(
    ("moment", "options"),
    [
        ("pending", []),
        ("running", []),
        ("running", ["--groups", "fetch_corpus=all", "--group-components", "all=3"]),
        ("running", ["--slurm-array-jobs", "fetch_corpus"]),
        ("ending", []),
    ],
)
def test_what_a_killed_snakemake_has_left_is_done_once(cluster, scene, moment, options):
    number = 1 if "--groups" in options else 3
    with ExitStack() as until:
        if moment == "pending":
            until.enter_context(nothing_starts(cluster))
        first = scene.start(*RAW, *options)
        stopped = set()
        if moment == "pending":
            scene.wait("they are in Slurm", lambda: len(scene.queue("--array")) == number, first)
        else:
            stopped = held(scene, number)
        kill(first)
        before = len(scene.said())
        second = start_again(scene, *RAW, *options)
        if moment == "ending":  # they end after Snakemake has seen what is missing, before it submits
            scene.wait("it knows what to do", lambda: "SLURM run ID" in scene.said()[before:], second)
            second.send_signal(signal.SIGSTOP)
            go_on(stopped)
            scene.wait("they are over", lambda: not scene.queue())
            second.send_signal(signal.SIGCONT)
        taken = "is taken over from an earlier Snakemake"
        scene.wait("it goes on with them", lambda: scene.said()[before:].count(taken) == number, second)
        if moment == "running":
            go_on(stopped)
    assert scene.end(second) == 0, scene.said()[-4000:]
    assert states(scene) == ["COMPLETED"] * number
    assert "submitted with" not in scene.said()[before:] and all((scene.folder / path).exists() for path in RAW)


def elsewhere(scene):
    """From now on, jobs without GPUs are asked for in another partition."""
    inventory = yaml.safe_load(NODES.read_text(encoding="utf-8"))
    inventory["kinds"]["cpu"]["partition"] = "urgent"
    path = scene.folder / "nodes.yaml"
    path.write_text(yaml.safe_dump(inventory), encoding="utf-8")
    write_config(scene.config, {"inventory": str(path)}, with_corpora)


def test_a_waiting_job_that_asks_for_what_is_not_needed_any_more_is_sent_anew(cluster, scene):
    with nothing_starts(cluster):
        first = scene.start(RAW[0])
        scene.wait("it is in Slurm", lambda: scene.queue(), first)
        kill(first)
        elsewhere(scene)
        assert scene.end(start_again(scene, RAW[0])) == 0, scene.said()[-4000:]
    assert sorted(states(scene)) == ["CANCELLED", "COMPLETED"]
    assert "it waits for something else than is asked for now (partition cpu" in scene.said()
    assert "taken over" not in scene.said()


def test_a_running_job_goes_on_where_it_runs(cluster, scene):
    first = scene.start(RAW[0])
    stopped = held(scene, 1)
    kill(first)
    elsewhere(scene)
    second = start_again(scene, RAW[0])
    scene.wait("it is taken over", lambda: "taken over from an earlier Snakemake" in scene.said(), second)
    go_on(stopped)
    assert scene.end(second) == 0 and states(scene) == ["COMPLETED"]
    assert "it runs where it was sent then" in scene.said()


def test_a_running_job_that_reads_what_is_not_there_any_more_is_ended_first(cluster, scene):
    first = scene.start(RAW[0])
    stopped = held(scene, 1)
    kill(first)

    def other_licence(config):
        with_corpora(config)
        config["corpora"]["one"]["licence"] = "CC-BY-4.0"

    write_config(scene.config, {}, other_licence)
    second = start_again(scene, RAW[0])
    scene.wait("it is ended", lambda: "is cancelled, for it was not sent for what is there" in scene.said(), second)
    go_on(stopped)
    assert scene.end(second) == 0, scene.said()[-4000:]
    assert sorted(states(scene)) == ["CANCELLED", "COMPLETED"]
    assert "CC-BY-4.0" in (scene.folder / RAW[0]).read_text(encoding="utf-8")


def test_a_job_taken_over_that_is_cancelled_is_submitted_anew_without_a_retry(cluster, scene):
    with nothing_starts(cluster):
        first = scene.start(RAW[0])
        scene.wait("it is in Slurm", lambda: scene.queue(), first)
        kill(first)
        second = start_again(scene, "--retries", "0", RAW[0])
        scene.wait("it is taken over", lambda: "taken over from an earlier Snakemake" in scene.said(), second)
        cluster.run("scancel", *scene.queue("--format=%i"))
        scene.wait("it is sent anew", lambda: "is submitted anew" in scene.said(), second)
    assert scene.end(second) == 0, scene.said()[-4000:]
    assert sorted(states(scene)) == ["CANCELLED", "COMPLETED"]


# --- what is said of them ---


def test_jobs_have_names_that_can_be_read_and_their_interruptions_are_said(cluster, scene):
    main = scene.start(RAW[0])
    held(scene, 1)
    assert scene.queue("--format=%j") == ["tsumugi.fetch_corpus.one"]
    [job] = scene.queue("--format=%i")  # the accounts lag behind
    cluster.run("scontrol", "requeue", job)
    assert scene.end(main) == 0, scene.said()[-4000:]
    assert f"Job 0 (fetch_corpus one), SLURM jobid {job}, was put back into the queue on cpu-1" in scene.said()


def test_a_word_is_said_of_preemption(cluster, scene):
    main = scene.start(RAW[0])
    held(scene, 1)
    cluster.run("sbatch", "--partition=urgent", "--exclusive", "--nodelist=cpu-1", "--output=/dev/null", "--wrap=true")
    assert scene.end(main) == 0, scene.said()[-4000:]
    assert "was pushed aside by a job of higher priority (preempted) on cpu-1; Slurm starts it again" in scene.said()
