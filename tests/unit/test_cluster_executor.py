"""What is asked of Slurm in place of what Snakemake's plugin asks; tests/cluster does it on a real one."""

import asyncio
import os
import subprocess

import pytest
from tsumugi.cluster.earlier_jobs import CLOCKS, EarlierJob, instead_of
from tsumugi.cluster.executor import ask, settled

ACCOUNTS = "sacct -X --name run-1,run-0"


def asked(**answers):
    """What :func:`ask` makes of these answers to ``sacct`` and ``squeue``, and the commands that it gave."""
    commands = []

    async def query(command, logger):
        commands.append(command)
        return answers[command.split()[0]], 0.1

    return asyncio.run(ask(query, ACCOUNTS, None))[0], commands


def test_a_cancelled_job_is_one_whoever_cancelled_it():
    states, commands = asked(sacct={"7": "CANCELLED by 1000", "8": "RUNNING", "9": "COMPLETED"})
    assert states == {"7": "CANCELLED", "8": "RUNNING", "9": "COMPLETED"}
    assert commands == [ACCOUNTS], "the controller is not troubled for these"


def test_without_an_answer_no_job_is_forgotten():
    assert asked(sacct=None)[0] == {}


@pytest.mark.parametrize("state", ["PREEMPTED", "NODE_FAIL", "REQUEUED"])
@pytest.mark.parametrize(
    ("held", "meaning"),
    [({"7": "PENDING"}, "PENDING"), ({"7": "RUNNING"}, "PENDING"), ({}, "CANCELLED"), (None, "PENDING")],
)
def test_what_slurm_may_bring_back_is_waited_for_only_while_slurm_has_it(state, held, meaning):
    states, commands = asked(sacct={"7": state, "8": "RUNNING"}, squeue=held)
    assert states == {"7": meaning, "8": "RUNNING"}
    assert commands[1].startswith("squeue") and "run-1,run-0" in commands[1]


def test_other_states_are_left_as_they_are():
    assert settled({"1": "FAILED", "2": "TIMEOUT"}, {}) == {"1": "FAILED", "2": "TIMEOUT"}


def test_an_earlier_job_counts_while_its_inputs_are_those_it_was_sent_with(tmp_path):
    spec = tmp_path / "spec.json"
    spec.touch()
    os.utime(spec, (1000, 1000))
    assert EarlierJob("7", "run-0", submitted=1001).is_up_to_date([spec])
    assert EarlierJob("7", "run-0", submitted=1000 - CLOCKS).is_up_to_date([spec]), "clocks may differ by this much"
    assert not EarlierJob("7", "run-0", submitted=900).is_up_to_date([spec])


def test_an_earlier_job_that_still_fits_is_waited_for_and_any_other_ended_first(tmp_path):
    spec = tmp_path / "spec.json"
    spec.touch()
    job = EarlierJob("7", "run-0", submitted=spec.stat().st_mtime)
    command = instead_of("sbatch --parsable", job, [spec]) + ' --wrap="what the plugin adds"'
    assert subprocess.run(command, shell=True, capture_output=True, text=True, check=True).stdout == "7\n"
    os.utime(spec, (job.submitted + 100, job.submitted + 100))
    again = instead_of("sbatch --parsable", job, [spec])
    assert again == "scancel 7; sbatch --parsable --dependency=afterany:7"
