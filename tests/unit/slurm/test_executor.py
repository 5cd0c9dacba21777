"""What is made of Slurm's answers, in place of what Snakemake's plugin makes of them; see also tests/cluster."""

import asyncio
import os
import subprocess
import sys
import threading
import time
from types import SimpleNamespace
from unittest.mock import Mock

import pytest

from tsumugi.errors import NOT_RETRIED, ConfigurationError, TsumugiError, run_cli
from tsumugi.slurm import job_states, submit_once
from tsumugi.slurm.earlier_jobs import EarlierJob, choose, mark, members, parse_line, request
from tsumugi.slurm.executor import says_not_retried
from tsumugi.slurm.job_states import Start, interruptions, latest, parse_accounts, settled
from tsumugi.slurm.refusals import Refusal, in_short, kind_of_refusal, may_have_been_taken
from tsumugi.slurm.submission_queue import WaitingLine

# --- states ---


def test_a_cancelled_job_is_one_whoever_cancelled_it():
    starts = parse_accounts(
        "7|CANCELLED by 1000|2026-11-27T10:00:00|n1\n8|RUNNING|Unknown|n2\n9|COMPLETED|Unknown|n3\n"
    )
    assert latest(starts) == {"7": "CANCELLED", "8": "RUNNING", "9": "COMPLETED"}


def test_without_an_answer_no_job_is_forgotten(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert asyncio.run(job_states.starts_by_accounts(["7"])) is None
    assert asyncio.run(job_states.states_by_controller(["7"])) is None


def test_a_single_job_that_the_controller_has_forgotten_is_an_answer(tmp_path, monkeypatch):
    squeue = tmp_path / "squeue"
    squeue.write_text('#!/bin/sh\necho "slurm_load_jobs error: Invalid job id specified" >&2\nexit 1\n')
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert asyncio.run(job_states.states_by_controller(["7"])) == {}


@pytest.mark.parametrize("state", ["PREEMPTED", "NODE_FAIL", "REQUEUED"])
@pytest.mark.parametrize(
    ("held", "meaning"),
    [({"7": "PENDING"}, "PENDING"), ({"7": "RUNNING"}, "PENDING"), ({}, "CANCELLED"), (None, "PENDING")],
)
def test_what_slurm_may_bring_back_is_waited_for_only_while_slurm_has_it(state, held, meaning):
    assert settled({"7": state, "8": "RUNNING"}, held) == {"7": meaning, "8": "RUNNING"}


def test_other_states_are_left_as_they_are():
    assert settled({"1": "FAILED", "2": "TIMEOUT"}, {}) == {"1": "FAILED", "2": "TIMEOUT"}


def test_an_interruption_is_one_of_this_job_and_counted_once_for_each_start():
    starts = [
        Start("7", "PREEMPTED", 100.0),
        Start("7", "NODE_FAIL", 900.0, "n1"),
        Start("7", "RUNNING"),
        Start("8", "FAILED", 950.0),
    ]
    assert interruptions(starts, {"7": 500.0, "8": 0.0}) == [(starts[1], 1)], (
        "another job may have had its number before"
    )


# --- refusals ---

POLICY = "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"


def refused(last, *before):
    return "".join(f"sbatch: error: {line}\n" for line in (*before, f"Batch job submission failed: {last}"))


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (refused(POLICY, "AssocMaxSubmitJobLimit"), Refusal.PASSING),
        (refused(POLICY, "AssocGrpSubmitJobsLimit"), Refusal.PASSING),
        (refused(POLICY, "QOSMaxSubmitJobPerUserLimit"), Refusal.PASSING),
        (refused(POLICY, "QOSGrpSubmitJobsLimit"), Refusal.PASSING),
        (refused(POLICY, "QOSMaxWallDurationPerJobLimit"), Refusal.FINAL),
        (refused("Resource temporarily unavailable"), Refusal.PASSING),
        ("sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying\n", Refusal.PASSING),
        (refused("Unable to contact slurm controller (connect failure)"), Refusal.PASSING),
        (refused("Socket timed out on send/recv operation"), Refusal.PASSING),
        (refused("Required partition not available (inactive or drain)"), Refusal.PASSING),
        (refused("Invalid partition name specified", "invalid partition specified: gpuX"), Refusal.FINAL),
        (refused("Invalid feature specification"), Refusal.FINAL),
        (refused("Invalid account or account/partition combination specified"), Refusal.FINAL),
        (refused("Invalid qos specification"), Refusal.FINAL),
        (refused("Requested node configuration is not available"), Refusal.FINAL),
        (refused("Invalid generic resource (gres) specification"), Refusal.FINAL),
        (refused("Requested time limit is invalid (missing or exceeds some limit)"), Refusal.FINAL),
        ("sbatch: unrecognized option '--no-such'\nTry \"sbatch --help\" for more information\n", Refusal.FINAL),
        (refused("Invalid feature specification", "Slurm job queue full, sleeping and retrying"), Refusal.FINAL),
        (refused("Resource temporarily unavailable", "invalid partition specified: SubmitJob"), Refusal.PASSING),
        (refused("Invalid authentication credential"), Refusal.UNKNOWN),
        (refused("Unspecified error"), Refusal.UNKNOWN),
        ("", Refusal.UNKNOWN),
    ],
)  # fmt: skip
def test_what_follows_from_a_refusal(text, kind):
    assert kind_of_refusal(text) is kind


def test_a_refusal_is_said_in_short():
    assert in_short(refused(POLICY, "AssocMaxSubmitJobLimit")) == "AssocMaxSubmitJobLimit"
    assert in_short(refused("Resource temporarily unavailable")) == "Resource temporarily unavailable"


def test_after_a_lost_answer_the_job_may_be_there():
    assert may_have_been_taken(refused("Socket timed out on send/recv operation"))
    assert not may_have_been_taken(refused(POLICY, "AssocMaxSubmitJobLimit"))


class Slurm:
    """Takes a job while it has places."""

    def __init__(self, places):
        self.places, self.taken, self.asked, self.line = places, [], 0, None

    def submit(self, jobs):
        self.asked += 1
        if self.places <= 0:
            self.line.add(jobs[0], "q", "AssocMaxSubmitJobLimit")
            return False
        self.places -= 1
        self.taken += jobs
        return True


def test_jobs_wait_in_their_order_with_one_question_a_round():
    slurm, said, over = Slurm(0), [], threading.Event()
    slurm.line = line = WaitingLine(slurm.submit, SimpleNamespace(warning=said.append), over)
    for job in ("a", "b", "c"):
        line.add(job, "q", "AssocMaxSubmitJobLimit")
    assert line.holds("q") and not line.holds("other")
    line.try_now()
    wait(lambda: slurm.asked == 1)
    slurm.places = 2
    line.try_now()
    wait(lambda: len(slurm.taken) == 2)
    slurm.places = 5
    line.try_now()
    wait(lambda: slurm.taken == ["a", "b", "c"])
    over.set()
    assert len(said) == 1 and "AssocMaxSubmitJobLimit" in said[0]


def wait(reached):
    end = time.monotonic() + 300
    while not reached():
        assert time.monotonic() < end
        time.sleep(0.01)


# --- sbatch, once ---


def submit(command, text=""):
    """As the plugin submits: a command line for a shell."""
    line = f"exec {sys.executable} -I {submit_once.__file__} {os.getpid()} {command}"
    return subprocess.run(line, shell=True, input=text, capture_output=True, text=True, timeout=300)


def program(path, *lines):
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(0o755)
    return path


def test_a_full_queue_is_not_waited_for_inside_sbatch(tmp_path):
    says = "sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying"
    done = submit(program(tmp_path / "sbatch", f'echo "{says}" >&2', "exec sleep 600"))
    assert done.returncode == 1 and kind_of_refusal(done.stderr) is Refusal.PASSING


def test_sbatch_reads_its_script_and_its_words_and_status_come_back():
    done = submit("sh -c 'cat; echo no >&2; exit 3'", "script\n")
    assert (done.returncode, done.stdout, done.stderr) == (3, "script\n", "no\n")


def test_sbatch_ends_with_the_process_that_wants_the_job(tmp_path):
    begun, go, late = tmp_path / "begun", tmp_path / "go", tmp_path / "late"
    waiting = f'while [ ! -e "{go}" ]; do sleep 0.05; done'
    sbatch = program(
        tmp_path / "sbatch", f'echo $$ > "{begun}.tmp"; mv "{begun}.tmp" "{begun}"', waiting, f'> "{late}"'
    )
    call = f"'exec {sys.executable} -I {submit_once.__file__} ' + str(os.getpid()) + ' {sbatch}'"
    snakemake = subprocess.Popen([sys.executable, "-c", f"import os, subprocess\nsubprocess.run({call}, shell=True)"])
    wait(begun.exists)
    snakemake.kill()
    snakemake.wait()
    wait(lambda: not is_alive(begun.read_text().strip()))
    go.touch()
    assert not late.exists()


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as status:
            return status.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


# --- jobs of an earlier Snakemake ---


def job(rule="train_model", inputs=(), **wildcards):
    return SimpleNamespace(
        is_group=lambda: False, rule=SimpleNamespace(name=rule), wildcards_dict=wildcards, input=list(inputs)
    )


def line(number, state, comment, folder="/work"):
    return [number, state, "gpu", "g24", "gres:gpu:1", "1", "12:00:00", comment, folder]


def test_a_job_is_known_again_by_rule_wildcards_and_inputs(tmp_path):
    spec = tmp_path / "spec.json"
    spec.write_text("1")
    one = members(job(inputs=[spec], run="a", seed="1"))
    assert one == members(job(inputs=[spec], seed="1", run="a"))
    assert one.keys() != members(job(inputs=[spec], run="a_1", seed="")).keys(), (
        "rule_train_model_wildcards_a_1 are both"
    )
    spec.write_text("2")
    changed = members(job(inputs=[spec], run="a", seed="1"))
    assert changed.keys() == one.keys() and changed != one
    spec.unlink()
    assert members(job(inputs=[spec], run="a", seed="1")) not in (one, changed)


def test_what_is_written_into_the_comment_is_read_again():
    one, other = {"aa": "11"}, {"bb": "22"}
    comment = "rule_train_model_wildcards_a_1" + mark("cc", [one])
    found = parse_line(*line("56", "PENDING", comment)[:-1])
    assert (found.number, found.pending, found.request, found.members) == ("56", True, "cc", one)
    assert "partition gpu" in found.asked and "features g24" in found.asked
    group = parse_line(*line("57", "RUNNING", "group_x" + mark("cc", [one | other]))[:-1])
    assert group.members == one | other
    array = "rule_x" + mark("cc", [one, other])
    assert [parse_line(*line(f"58_{task}", "RUNNING", array)[:-1]).members for task in (1, 2)] == [one, other]
    assert parse_line(*line("59", "RUNNING", "somebody's own")[:-1]) is None


def earlier(number, state="PENDING", request="now", **members):
    return EarlierJob(number, state, request, members, "")


NEEDED = {"a": "new"}


@pytest.mark.parametrize(
    ("there", "fitting", "ended", "awaited"),
    [
        ([], None, "", ""),
        ([earlier("1", a="new")], "1", "", ""),
        ([earlier("1", b="new")], None, "", ""),
        ([earlier("1", request="then", a="new")], None, "1", ""),
        ([earlier("1", request="then", state="RUNNING", a="new")], "1", "", ""),
        ([earlier("1", request="then", state="COMPLETING", a="new")], "1", "", ""),
        ([earlier("1", state="RUNNING", a="old")], None, "1", ""),
        ([earlier("1", state="RUNNING", a="new", b="new")], "1", "", ""),
        ([earlier("1", a="new"), earlier("2", state="RUNNING", a="new")], "2", "", ""),
        ([earlier("1", a="old"), earlier("2", a="new")], "2", "", ""),
    ],
)
def test_which_earlier_job_is_gone_on_with(there, fitting, ended, awaited):
    found, to_end, to_await = choose(NEEDED, "now", there)
    assert (found and found.number, *("".join(job.number for job in jobs) for jobs in (to_end, to_await))) == (
        fitting, ended, awaited,
    )  # fmt: skip


def test_a_part_of_a_group_that_runs_is_waited_for_and_not_done_beside():
    found, to_end, to_await = choose({"a": "new", "b": "new"}, "now", [earlier("1", state="RUNNING", a="new")])
    assert (found, to_end, [job.number for job in to_await]) == (None, [], ["1"])


def test_a_request_is_what_slurm_is_asked_for_and_what_the_command_does():
    command = (
        "python -m snakemake --target-jobs 'x:' --wait-for-files {} --configfiles {} --latency-wait {} --cores all"
    )
    one = request("sbatch -p gpu --exclusive", command.format(".snakemake/tmp.1", "a.yaml", 5))
    assert one == request("sbatch  -p gpu --exclusive", command.format(".snakemake/tmp.2", "a.yaml", 60))
    assert one != request("sbatch -p gpu", command.format(".snakemake/tmp.1", "a.yaml", 5))
    assert one != request("sbatch -p gpu --exclusive", command.format(".snakemake/tmp.1", "b.yaml", 5))


# --- errors of jobs ---


def test_a_job_says_that_its_configuration_would_let_it_fail_again(capsys):
    for error, said in ((ConfigurationError("no"), True), (TsumugiError("no"), False)):
        with pytest.raises(SystemExit):
            run_cli(Mock(side_effect=error))
        assert (NOT_RETRIED in capsys.readouterr().err) is said


def test_that_is_read_from_the_log_of_this_attempt(tmp_path):
    log = tmp_path / "log"
    info = SimpleNamespace(job=SimpleNamespace(is_group=lambda: False, log=[log]), aux={})
    assert not says_not_retried(info, since=0.0)
    log.write_text("x" * 50_000 + f"\nerror: no\n{NOT_RETRIED}: change it\n")
    assert says_not_retried(info, since=0.0)
    assert not says_not_retried(info, since=time.time() + 1000), "of an attempt before"
