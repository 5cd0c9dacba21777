"""What Snakemake's Slurm plugins lack: without it Snakemake gives up, or waits for ever, where Slurm does not.

Left as it is, the plugin that submits (2.8.0)

- takes a cancelled job for a running one: ``sacct`` says ``CANCELLED by 1000``, and it knows ``CANCELLED`` only;
- forgets all jobs when their states cannot be asked for (the accounts are away), and never sees them end;
- waits for every job that was preempted or lost a node, also for those that Slurm does not bring back
  (``PreemptMode=CANCEL``), and keeps later jobs off all nodes of such a job, also those that work;
- lets ``slurm_extra``, where people put ``--mail-type``, stand in for ``--exclusive``, and misreads what stands there;
- takes a controller that is away for a refusal, and uses up a job's retries in half a minute;
- says nothing of jobs that can never start;
- asks ever less often, up to every 180 s, and must be waited for that long when all is over;
- knows nothing of the jobs that a Snakemake which was killed has left in Slurm.

The plugin inside the job starts its ``srun`` once, and the job has failed if the controller is away just then.
"""

import shlex
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import snakemake_executor_plugin_slurm as plugin
import snakemake_executor_plugin_slurm_jobstep as plugin_inside
from snakemake_interface_common.exceptions import WorkflowError

from tsumugi.cluster.controller import WAIT_FOR_CONTROLLER, wait_for_controller
from tsumugi.cluster.earlier_jobs import EarlierJob, earlier_jobs, instead_of
from tsumugi.cluster.hopeless import HopelessJobs
from tsumugi.cluster.sbatch_options import check_extra, needed_options
from tsumugi.errors import TsumugiError

States = Mapping[str, str]  # Slurm's number of a job -> its state
Query = Callable[[str, Any], Awaitable[tuple[States | None, float | None]]]  # also seconds; None: there is no answer

LEFT_TO_SLURM = {"PREEMPTED", "NODE_FAIL", "REQUEUED"}  # it may bring such a job back, under its number
COMING_BACK = {"PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "REQUEUED", "SUSPENDED", "STOPPED"}
SLOWEST = 3  # times the seconds before the first question: the longest time between two


def mend_plugin(folder: Path) -> None:
    """Let the plugin ask and submit in this way. To be called once, before Snakemake looks what there is to do.

    Args:
        folder: which Snakemake submits jobs from.
    """
    query, submission = plugin.query_job_status, plugin.get_submit_command
    left_behind, names = earlier_jobs(folder), []
    hopeless = HopelessJobs()

    async def mended_query(command: str, logger: Any) -> tuple[States, float]:
        states, seconds = await ask(query, ",".join([command, *names]), logger)
        for line in hopeless.news(job for job, state in states.items() if state == "PENDING"):
            logger.warning(line)
        return states, seconds

    def mended_submission(job: Any, params: Mapping[str, Any], **options: Any) -> str:
        call = " ".join([WAIT_FOR_CONTROLLER + submission(job, params, **options), *needed_options(job.resources)])
        earlier: EarlierJob | None = left_behind.pop(params["comment_str"], None)
        if earlier is None:
            return call
        names.append(earlier.name)
        return instead_of(call, earlier, job.input)

    def check(job: Any) -> None:
        try:
            check_extra(job.resources.get("slurm_extra") or "", job.resources, job.name)
        except TsumugiError as error:
            raise WorkflowError(str(error)) from None

    plugin.query_job_status, plugin.get_submit_command = mended_query, mended_submission
    plugin.validate_slurm_extra = check
    pause = plugin.Executor.next_seconds_between_status_checks

    def set_pause(executor: plugin.Executor, seconds: float) -> None:
        first = executor.workflow.executor_settings.init_seconds_before_status_checks
        pause.fset(executor, min(seconds, SLOWEST * first))

    plugin.Executor.next_seconds_between_status_checks = property(pause.fget, set_pause)


def mend_plugin_inside() -> None:
    """Let the plugin inside a job wait for the controller. To be called in the Snakemake that a job starts."""
    run_job = plugin_inside.Executor.run_job

    def mended_run_job(executor: plugin_inside.Executor, job: Any) -> None:
        wait_for_controller()
        run_job(executor, job)

    plugin_inside.Executor.run_job = mended_run_job


async def ask(query: Query, command: str, logger: Any) -> tuple[States, float]:
    """What ``query`` answers to ``command``, an ``sacct`` or ``squeue`` that ends in the names of all our jobs.

    No answer is an empty one: the plugin asks again for jobs that Slurm has not heard of yet.
    """
    states, seconds = await query(command, logger)
    if states is None:
        return {}, 0.0
    states = {job: state.split()[0] for job, state in states.items() if state}
    if LEFT_TO_SLURM & set(states.values()):
        held, _ = await query(plugin.query_job_status_squeue(shlex.split(command)[-1]), logger)
        states = settled(states, held)
    return states, seconds or 0.0


def settled(states: States, held: States | None) -> States:
    """The states, with jobs that Slurm brings back as pending, and those that it does not as cancelled.

    Args:
        held: those that the controller has; None: it does not answer, and nothing is settled yet.
    """

    def settle(job: str, state: str) -> str:
        if state not in LEFT_TO_SLURM:
            return state
        return "PENDING" if held is None or held.get(job) in COMING_BACK else "CANCELLED"

    return {job: settle(job, state) for job, state in states.items()}
