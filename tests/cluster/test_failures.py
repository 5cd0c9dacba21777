"""What can happen to training on a cluster: it goes on, and ends with the weights of a run that was left in peace."""

import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
import yaml

from failing_runs import KIND_OF, Scene, alike, manifest_path, weights
from through_slurm import NODES, write_config
from tiny_experiment import ROOT, prepare


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder with the corpus, the tokenizer, the tokens, and a run that nothing happened to; made without Slurm."""
    folder = tmp_path_factory.mktemp("prepared")
    prepare(folder)
    config = write_config(folder / "undisturbed.yaml", {}, alike("undisturbed"))
    line = ["-m", "snakemake", "--configfile", config, "--directory", folder, manifest_path("undisturbed")]
    done = subprocess.run(
        [sys.executable, *map(str, line)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return folder


@pytest.fixture(scope="module")
def new_scene(cluster, prepared, tmp_path_factory):
    """Makes a working folder for an experiment whose runs are all the same training."""
    scenes = []

    def new(name, *runs, compute=None, change=lambda config: None):
        folder = tmp_path_factory.mktemp(name)
        config = write_config(folder / "experiment.yaml", compute or {}, alike(*runs, change=change))
        scenes.append(Scene(cluster, folder, config, prepared))
        return scenes[-1]

    yield new
    for scene in scenes:
        scene.close()
    cluster.clear()


def assert_undisturbed(scene, run, prepared):
    """The run ended with the weights of the one that nothing happened to."""
    expected = weights(prepared, "undisturbed")
    assert (weights(scene.folder, run) - expected).norm() <= 1e-5 * expected.norm()


# --- two experiments at once, and what happens to them ---


@pytest.fixture(scope="module")
def struck(cluster, new_scene, tmp_path_factory):
    """Two experiments that are over, with the statuses of their last Snakemakes."""
    inventory = yaml.safe_load(NODES.read_text(encoding="utf-8"))
    inventory["kinds"]["gone"] = {"gpus": 0, "cpus": 4, "memory_gib": 15, "partition": "elsewhere"}
    path = tmp_path_factory.mktemp("inventory") / "nodes.yaml"
    path.write_text(yaml.safe_dump(inventory), encoding="utf-8")
    on_cpu = {"kinds": ["cpu"], "gpu_memory_gib": 0}
    needs = {"limited": on_cpu | {"hours": 4 / 60}, "refused": on_cpu | {"kinds": ["gone"]}, "unfit": on_cpu}
    needs |= {"wrong": on_cpu}

    def with_a_wrong_one(config):
        wild = {"learning_rate": 1e8, "warmup": 0, "clip": 1e9}
        config["recipes"]["wild"] = config["recipes"]["scratch"] | wild
        config["runs"]["wrong"]["recipe"] = "wild"
        config["recipes"]["unfit"] = config["recipes"]["scratch"] | {"learning_rate_factors": {"nothing": 2.0}}
        config["runs"]["unfit"]["recipe"] = "unfit"

    runs = ("cancelled", "dead", "limited", "refused", "unfit", "wrong")
    compute = {"inventory": str(path), "needs": needs}
    one = new_scene("struck", *runs, compute=compute, change=with_a_wrong_one)
    other = new_scene("left", "unseen", "going")
    # It is there, so that the start finds nothing wrong, but takes no jobs that are submitted on the head.
    cluster.run("scontrol", "create", "partition=elsewhere", "nodes=cpu-1", "state=UP", "allocnodes=cpu-1")
    try:
        return strike(cluster, one, other)
    except BaseException:  # what is left of it must not be in the way of the tests after it
        one.close()
        other.close()
        cluster.clear()
        raise
    finally:
        cluster.run("scontrol", "delete", "partition=elsewhere", check=False)  # a controller that restarts forgets it


def strike(cluster, one, other):
    """Let happen to the runs of ``one`` what their names say, meanwhile leave ``other`` alone."""
    main = one.start("--retries", "1", "models")
    one.hold("cancelled", "dead", "limited", process=main)
    node = one.node_of("dead")
    cluster.run("scancel", one.jobs("cancelled")[0])
    lose(cluster, node)
    with ThreadPoolExecutor() as pool:
        limit = pool.submit(one.use_up_time, "limited", 48, main)  # which is when it leaves
        one.wait("the dead one is at work elsewhere", lambda: one.node_of("dead") not in ("", node), main)
        cluster.revive_node(node)
        left_alone = leave_alone(cluster, other)
        limit.result()
    status = one.end(main)
    return SimpleNamespace(one=one, status=status, other=other, **left_alone)


def lose(cluster, node):
    """Take the power from a node. Slurm would see it by itself, in half a minute."""
    cluster.kill_node(node)
    cluster.run("scontrol", "update", f"nodename={node}", "state=down", "reason=no power")


def leave_alone(cluster, scene):
    """Start an experiment while the controller is away, end its Snakemake without warning, and start it again."""
    first = scene.start("models")
    scene.wait("it is about to submit", lambda: "SLURM run ID" in scene.said(), first)
    cluster.restart_controller(away=25)
    scene.wait("both are submitted", lambda: scene.jobs("unseen") and scene.jobs("going"), first)
    scene.wait("a job has begun", lambda: scene.node_of("unseen") or scene.node_of("going"), first)
    cluster.restart_controller(away=12)  # the job asks for its step meanwhile
    first.kill()
    first.wait()
    scene.hold("unseen", "going")
    scene.go_on("unseen")
    scene.wait("it is over", lambda: "COMPLETED" in [start.state for start in scene.starts("unseen")])
    cluster.run(
        "sbatch", "--partition=urgent", "--exclusive", f"--nodelist={scene.node_of('going')}", "--output=/dev/null",
        "--wrap=true",
    )  # fmt: skip
    scene.wait("it is preempted", lambda: "PREEMPTED" in [start.state for start in scene.starts("going")])

    def hold_again():  # on a slow machine it would be over before Snakemake looks for it
        scene.wait("it runs again", lambda: scene.node_of("going"))
        scene.hold("going", after=scene.saved_step("going"))

    with ThreadPoolExecutor() as pool:
        held = pool.submit(hold_again)
        main = scene.start("models")
        scene.wait("it is taken over", lambda: "(train_model going 1) is taken over" in scene.said(), main)
        held.result()
    scene.go_on("going")
    return {"last": scene.end(main)}


def test_the_others_finish_and_the_status_says_that_not_all_did(struck, prepared):
    assert struck.status == 1
    for run in ("cancelled", "dead", "limited"):
        assert_undisturbed(struck.one, run, prepared)
    for run in ("refused", "unfit", "wrong"):
        assert not (struck.one.folder / manifest_path(run)).exists()


def test_a_cancelled_job_is_submitted_again_and_goes_on(struck):
    states = [start.state for start in struck.one.starts("cancelled")]
    assert states == ["CANCELLED", "COMPLETED"], struck.one.logs("cancelled")
    assert len(struck.one.jobs("cancelled")) == 2
    assert struck.one.execution("cancelled")["attempts"] == 2


def test_a_run_goes_on_on_another_kind_of_node_when_its_own_has_died(struck):
    lost, last = struck.one.starts("dead")
    assert (lost.state, last.state) == ("NODE_FAIL", "COMPLETED")
    assert lost.job == last.job and lost.node != last.node
    execution = struck.one.execution("dead")
    assert execution["attempts"] == 2
    assert execution["kinds"] == [KIND_OF[last.node]]
    assert execution["micro_batch"] == {"a48": [5], "v32": [3]}[KIND_OF[last.node]]


def test_before_its_time_limit_a_job_saves_and_comes_back(struck):
    *before, last = struck.one.starts("limited")  # what Slurm itself ends at the limit has the state TIMEOUT
    assert {start.state for start in before} == {"REQUEUED"} and last.state == "COMPLETED"
    assert {start.job for start in before} == {last.job}
    assert struck.one.execution("limited")["attempts"] == len(before) + 1


def test_a_refused_submission_is_named_with_slurms_reason(struck):
    said = struck.one.said()
    assert said.count("Batch job submission failed: Access/permission denied") == 1, "it is not retried"
    assert "tsumugi.train_model.refused.1" in said
    assert not struck.one.jobs("refused")


def test_a_job_that_the_configuration_lets_fail_is_not_retried(struck):
    assert "recipe.learning_rate_factors.nothing: no trained parameter" in struck.one.said()
    assert [start.state for start in struck.one.starts("unfit")] == ["FAILED"]


def test_the_error_of_a_job_is_on_the_screen(struck):
    assert "error: step 2: the loss is nan" in struck.one.said()
    assert {start.state for start in struck.one.starts("wrong")} == {"FAILED"}


def test_nothing_is_submitted_more_often_than_it_has_to_be(struck):
    assert (
        len({start.job for start in struck.one.starts()}) == 2 + 1 + 1 + 1 + 2
    )  # cancelled, dead, limited, unfit, wrong


def test_a_second_snakemake_goes_on_with_what_a_killed_one_has_left(struck, prepared):
    assert struck.last == 0
    assert "the lock of a Snakemake that is gone" in struck.other.said()
    assert [start.state for start in struck.other.starts("unseen")] == ["COMPLETED"]
    assert [start.state for start in struck.other.starts("going")] == ["PREEMPTED", "COMPLETED"]
    assert len({start.job for start in struck.other.starts()}) == 2, "nothing was submitted a second time"
    assert struck.other.execution("unseen")["attempts"] == 1
    assert struck.other.execution("going")["attempts"] == 2
    for run in ("unseen", "going"):
        assert_undisturbed(struck.other, run, prepared)
    assert not list(struck.other.folder.glob("state/*/seed1/*/step*")), "checkpoints of what is finished"


# --- one run over two nodes ---


def test_a_run_over_two_nodes_goes_on_when_snakemake_is_interrupted_and_a_node_dies(cluster, new_scene, prepared):
    scene = new_scene("apart", "apart", compute={"needs": {"apart": {"nodes": {"a48": 1, "v32": 1}}}})
    interrupted = scene.start("models")
    scene.hold("apart", process=interrupted)
    interrupted.send_signal(signal.SIGINT)
    assert scene.end(interrupted) == 1
    scene.wait("the nodes are free", lambda: not scene.queue())
    saved = scene.saved_step("apart")

    main = scene.start("models")
    scene.hold("apart", after=saved, process=main)
    lose(cluster, "v32-1")
    scene.wait("the job has lost it", lambda: "NODE_FAIL" in [start.state for start in scene.starts("apart")], main)
    cluster.revive_node("v32-1")
    assert scene.end(main) == 0, scene.said()[-4000:]
    # Slurm's order to end the job may reach the node when it is back, and end the job's next start too.
    interrupted, lost, *again, last = [start.state for start in scene.starts("apart")]
    assert (interrupted, lost, last) == ("CANCELLED", "NODE_FAIL", "COMPLETED") and set(again) <= {"FAILED"}
    execution = scene.execution("apart")
    assert (execution["world_size"], execution["nodes"]) == (3, 2) and execution["attempts"] >= 3
    assert_undisturbed(scene, "apart", prepared)
