"""What Snakemake's Slurm plugins lack: without it Snakemake gives up, or waits for ever, where Slurm does not.

Left as it is, the plugin that submits (2.8.0)

- takes a cancelled job for a running one: ``sacct`` says ``CANCELLED by 1000``, and it knows ``CANCELLED`` only;
- forgets all jobs when their states cannot be asked for (the accounts are away), and never sees them end;
- waits for every job that was preempted or lost a node, also for those that Slurm does not bring back
  (``PreemptMode=CANCEL``), and keeps later jobs off all nodes of such a job, also those that work;
- lets ``slurm_extra``, where people put ``--mail-type``, stand in for ``--exclusive``, and misreads what stands there;
- takes a controller that is away, or a limit on the number of jobs, for a refusal, and uses up a job's retries in half
  a minute; and retries what can never succeed;
- says nothing of jobs that can never start;
- asks ever less often, up to every 180 s, and must be waited for that long when all is over;
- knows nothing of the jobs that a Snakemake which was killed has left in Slurm;
- calls all jobs by one UUID; says nothing of preemptions and lost nodes;
- on Ctrl-C leaves the jobs in Slurm whose states it is just asking for, or whose submission is under way.

The plugin inside the job starts its ``srun`` once, and the job has failed if the controller is away just then.
"""

import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from logging import LogRecord
from pathlib import Path
from typing import Any

import snakemake_executor_plugin_slurm as plugin
import snakemake_executor_plugin_slurm_jobstep as plugin_inside
from snakemake_executor_plugin_slurm import efficiency_report
from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry

from tsumugi.cluster.controller import wait_for_controller
from tsumugi.errors import NOT_RETRIED, TsumugiError
from tsumugi.slurm import earlier_jobs, submit_once
from tsumugi.slurm.earlier_jobs import EarlierJob
from tsumugi.slurm.job_states import (
    LEFT_TO_SLURM,
    MEANING,
    interruptions,
    latest,
    settled,
    starts_by_accounts,
    states_by_controller,
)
from tsumugi.slurm.refusals import Refusal, in_short, kind_of_refusal, may_have_been_taken
from tsumugi.slurm.sbatch_options import check_extra, needed_options
from tsumugi.slurm.stuck_jobs import StuckJobs
from tsumugi.slurm.submission_queue import WaitingLine

SLOWEST = 3  # times the seconds before the first question: the longest time between two
CLOCKS = 60.0  # seconds by which this machine's clock and Slurm's may differ
FORGOTTEN = 120.0  # seconds after which a job that the controller does not know has been one that is over
LONGEST_NAME = 200
SECONDS = 60  # for Slurm to answer
ENDED = "ENDED"  # the state of a job that has left the queue since Snakemake looked what there is to do
THROUGH = f"exec {shlex.quote(sys.executable)} -I {shlex.quote(submit_once.__file__)}"
ACCOUNTS = "JobID,JobName,Comment,Elapsed,TotalCPU,NNodes,NCPUS,MaxRSS,ReqMem"  # as the efficiency report reads them


def mend_plugin(folder: Path) -> None:
    """Let Snakemake submit and watch jobs in this way. To be called once, before it looks what there is to do.

    Args:
        folder: which Snakemake submits jobs from.
    """
    SlurmExecutor.folder = folder
    with suppress(TsumugiError):  # then it is asked again before the first submission
        SlurmExecutor.left_behind = earlier_jobs.earlier_jobs(folder)
    ExecutorPluginRegistry().get_plugin("slurm").executor = SlurmExecutor


def mend_plugin_inside() -> None:
    """Let the plugin inside a job wait for the controller. To be called in the Snakemake that a job starts."""
    run_job = plugin_inside.Executor.run_job

    def mended_run_job(executor: plugin_inside.Executor, job: Any) -> None:
        wait_for_controller()
        run_job(executor, job)

    plugin_inside.Executor.run_job = mended_run_job


@dataclass(frozen=True)
class Plan:
    """What to submit.

    Attributes:
        request: digest of what Slurm is asked for.
        members: the jobs in it, as :func:`earlier_jobs.members` gives them.
        others: Slurm's numbers of jobs that have to end before.
    """

    job: Any
    request: str
    members: dict[str, str]
    others: tuple[str, ...]


class Unanswered(Exception):
    """Slurm does not say which jobs there are: a submission could be the second of its kind."""


class SlurmExecutor(plugin.Executor):  # type: ignore[misc]  # the plugin brings no types
    """The plugin's executor with the workarounds that this module lists.

    Attributes:
        folder: which jobs are submitted from.
        left_behind: jobs of earlier Snakemakes; those at the start, before it was decided what there is to do.
    """

    folder: Path
    left_behind: Sequence[EarlierJob] = ()
    _fallback_account_arg: str | None

    def __post_init__(self, test_mode: bool = False) -> None:
        """Set up, before the first job."""
        self._stopping = threading.Event()
        self._local = threading.local()  # what the submission in this thread is about
        self._lock = threading.RLock()
        self._asked_at = 0.0  # when Slurm was asked for its jobs, on the monotonic clock; 0: it has to be
        self._tried: set[tuple[str, str]] = set()  # Slurm's numbers, and the job that they were to do
        self._in_slurm: dict[str, SubmittedJobInfo] = {}
        self._since: dict[str, float] = {}  # Slurm's number -> seconds since 1970, when we began to watch it
        self._asked: list[str] = []
        self._told: set[tuple[str, int]] = set()
        self._states: dict[str, str] = {}
        self._stuck = StuckJobs()
        super().__post_init__(test_mode)
        if self._fallback_account_arg is None:
            self._fallback_account_arg = ""  # Slurm's own default: the plugin's guess does not work with Slurm 22.05
        self._line = WaitingLine(self._run, self.logger, self._stopping)
        self._submission = plugin.get_submit_command
        plugin.get_submit_command = self._submit_command
        plugin.validate_slurm_extra = _check_extra
        plugin.query_job_status = self._query
        efficiency_report.get_sacct_data = self._accounts
        self._report, plugin.create_efficiency_report = plugin.create_efficiency_report, self._report_efficiency

    # --- submitting ---

    def run_job(self, job: Any) -> None:
        """Submit a job, or go on with the one that an earlier Snakemake has left; in a thread of its own."""
        if not self._wait_with_others([job]):
            self._run([job])

    def run_array_jobs(self, jobs: list[Any]) -> None:
        """Submit jobs of one rule as one array, but for those that are in Slurm already."""
        if not self._wait_with_others(jobs):
            self._run(jobs)

    def _wait_with_others(self, jobs: list[Any]) -> bool:
        """Whether Slurm takes no such jobs just now: they are put behind those that wait already."""
        if not self._line.holds(_queue_of(jobs[0])):
            return False
        for job in jobs:
            self._line.add(job, _queue_of(job))
        return True

    def _run(self, jobs: list[Any]) -> bool:
        """Submit jobs, several as an array; returns whether Slurm has taken them, or never will."""
        if self._stopping.is_set():
            return True
        if getattr(self.workflow.scheduler, "_user_kill", None):  # it waits for what runs, and begins nothing
            for job in jobs:
                _retry_no_more(job)
                super()._report_job_error_threadsafe(SubmittedJobInfo(job), "Not submitted: Snakemake is ending.")
            return True
        self._local.refused, self._local.said = False, []
        plans = []
        for job in jobs:
            try:
                plan = self._plan(job)
            except Unanswered as error:
                self._refuse(job, f"Unable to contact slurm controller ({error})", certain=True)
            except Exception as error:
                kind = kind_of_refusal(str(error))
                if isinstance(error, WorkflowError | TsumugiError) and kind is Refusal.UNKNOWN:
                    kind = Refusal.FINAL  # a check of what was asked for
                self._refused(SubmittedJobInfo(job), f"Job submission failed: {error}", kind, str(error))
            else:
                plans += [] if plan is None else [plan]
        if plans:
            self._submit(plans)
        return not self._local.refused

    def _plan(self, job: Any) -> Plan | None:
        """What to submit; None where an earlier job is gone on with.

        Raises:
            Unanswered: Slurm does not say which jobs there are.
        """
        asked = {"run_uuid": "", "slurm_logfile": "", "comment_str": "", "workdir": None}
        asked |= {"account": next(self.get_account_arg(job)), "partition": self.get_partition_arg(job)}
        _check_extra(job)
        settings = self.workflow.executor_settings
        submission = self._sbatch(job, asked, settings=settings) + plugin.set_gres_string(job)
        request, members = earlier_jobs.request(submission, self.format_job_exec(job)), earlier_jobs.members(job)
        fitting, to_end, to_await = earlier_jobs.choose(members, request, self._earlier(members))
        if fitting is not None:
            self._take_over(job, fitting, members, fitting.request == request)
            return None
        to_end = [earlier for earlier in to_end if earlier.state != ENDED]
        for earlier in to_end:
            why = (
                f"it waits for something else than is asked for now ({earlier.asked})"
                if earlier.pending and earlier.does(members)
                else "it was not sent for what is there to read now"
            )
            self._tell(
                f"{self._name_of(job)}: SLURM job {earlier.number} of an earlier Snakemake is cancelled, for {why}; "
                "the job is submitted anew"
            )
            self._scancel([earlier.number])
        return Plan(job, request, members, tuple(earlier.number for earlier in (*to_end, *to_await)))

    def _earlier(self, members: Mapping[str, str]) -> list[EarlierJob]:
        """The jobs in Slurm that may be gone on with in place of a new one."""
        with self._lock:
            old = time.monotonic() - self._asked_at > CLOCKS and any(job.shares(members) for job in self.left_behind)
            if old or not self._asked_at:
                try:
                    now = earlier_jobs.earlier_jobs(self.folder)
                except TsumugiError as error:
                    raise Unanswered(str(error)) from None
                # What has ended meanwhile counts too: when it was decided what there is to do, it had no result yet.
                numbers = {earlier.number for earlier in now}
                ended = [earlier for earlier in self.left_behind if earlier.number not in numbers]
                self.left_behind = [*now, *(_running(earlier) for earlier in ended)]
                self._asked_at = time.monotonic()
            return [job for job in self.left_behind if not any((job.number, one) in self._tried for one in members)]

    def _take_over(self, job: Any, earlier: EarlierJob, members: Mapping[str, str], as_now: bool) -> None:
        log = self.slurm_logdir / _kind(job) / plugin.get_job_wildcards(job) / f"{earlier.number}.log"
        where = "" if as_now else "; it runs where it was sent then, and what is asked for now is not needed for it"
        self._tell(
            f"Job {job.jobid} ({self._name_of(job)}) is taken over from an earlier Snakemake: SLURM jobid "
            f"{earlier.number} (log: {log}), {earlier.state.lower()}{where}."
        )
        with self._lock:
            self._tried |= {(earlier.number, one) for one in members}
        self._report_job_submission_threadsafe(
            SubmittedJobInfo(job, external_jobid=earlier.number, aux={"slurm_logfile": log, "taken_over": True})
        )

    def _submit(self, plans: Sequence[Plan]) -> None:
        jobs, others = [plan.job for plan in plans], [number for plan in plans for number in plan.others]
        self._local.several = len(jobs) > 1
        self._local.mark = earlier_jobs.mark(plans[0].request, [plan.members for plan in plans])
        self._local.dependency = f" --dependency=afterany:{':'.join(others)}" if others else ""
        try:
            with self._errors_kept():
                if len(jobs) == 1:
                    super().run_job(jobs[0])
                else:
                    super().run_array_jobs(jobs)
        except Exception as error:  # the plugin's own handling of an error fails for a group of jobs
            for job in jobs:
                self._report_job_error_threadsafe(SubmittedJobInfo(job), f"Job submission failed: {error}")

    def _submit_command(self, job: Any, params: Mapping[str, Any], **options: Any) -> str:
        """In place of the plugin's: a name that can be read, a comment by which a later Snakemake knows the job."""
        params = {**params, "run_uuid": self._slurm_name(job, self._local.several)}
        params["comment_str"] += self._local.mark
        dependency: str = self._local.dependency
        return f"{THROUGH} {os.getpid()} " + self._sbatch(job, params, **options) + dependency

    def _sbatch(self, job: Any, params: Mapping[str, Any], **options: Any) -> str:
        """The plugin's command line, with what a job needs whatever ``slurm_extra`` says."""
        return " ".join([self._submission(job, params, **options), *needed_options(job.resources)])

    def _slurm_name(self, job: Any, several: bool) -> str:
        """Of a job in Slurm: ``tsumugi.train_model.t5-base.42``."""
        wildcards = [] if several or job.is_group() else list(job.wildcards)
        words = [self.workflow.executor_settings.jobname_prefix, job.name, *wildcards]
        return "-".join(".".join(str(word) for word in words if word).replace(",", "-").split())[:LONGEST_NAME]

    def _name_of(self, job: Any) -> str:
        """Of a job on the screen: ``train_model t5-base 42``."""
        return f"group {job.name}" if job.is_group() else " ".join([job.name, *map(str, job.wildcards)])

    def _tell(self, text: str) -> None:
        self.logger.info(text)

    # --- refused submissions ---

    @contextmanager
    def _errors_kept(self) -> Iterator[None]:
        """Keep what the plugin logs as an error about this submission: of an array, it says the reason nowhere else."""
        thread = threading.get_ident()

        def keep(record: LogRecord) -> bool:
            if record.thread != thread or record.levelname != "ERROR" or self._local.reporting:
                return True
            self._local.said.append(record.getMessage())
            return False

        self._local.reporting = False
        self.logger.addFilter(keep)
        try:
            yield
        finally:
            self.logger.removeFilter(keep)

    def _report_job_error_threadsafe(self, job_info: SubmittedJobInfo, msg: str) -> None:
        """A submission has failed: wait where that helps, and retry where it may."""
        text = "\n".join([*self._local.said, msg])
        reason = text.rpartition("The error message was '")[2].partition("'.\n    sbatch call:")[0]
        self._refused(job_info, msg if not self._local.said else text, kind_of_refusal(reason), reason)

    def _refused(self, job_info: SubmittedJobInfo, msg: str, kind: Refusal, reason: str) -> None:
        if self._stopping.is_set():
            return
        if kind is Refusal.PASSING:
            self._refuse(job_info.job, reason, certain=not may_have_been_taken(reason))
            return
        if kind is Refusal.FINAL:
            msg = f"{msg}\n{NOT_RETRIED}: Slurm would not take this job later either. Change what it asks for."
            _retry_no_more(job_info.job)
        self._local.reporting = True
        super()._report_job_error_threadsafe(job_info, msg)

    def _refuse(self, job: Any, reason: str, certain: bool) -> None:
        """Let a job wait until Slurm takes jobs again."""
        self._local.refused = True
        if not certain:
            with self._lock:
                self._asked_at = 0.0  # it may have been taken, and would be submitted twice
        self._line.add(job, _queue_of(job), in_short(reason))

    # --- watching ---

    def report_job_submission(self, job_info: SubmittedJobInfo, register_job: bool = True) -> None:
        """Watch a job that Slurm has taken."""
        number = job_info.external_jobid
        if number is not None:
            with self._lock:
                self._in_slurm[number] = job_info
                self._since.setdefault(number, time.time() - CLOCKS)
                self._tried |= {(number, one) for one in earlier_jobs.members(job_info.job)}
            if self._stopping.is_set():  # it was submitted while the others were cancelled
                self._scancel([number])
                return
        super().report_job_submission(job_info, register_job=register_job)

    def report_job_success(self, job_info: SubmittedJobInfo) -> None:
        """A job has ended well."""
        self._forget(job_info)
        super().report_job_success(job_info)
        self._line.try_now()

    def report_job_error(self, job_info: SubmittedJobInfo, msg: str | None = None, **options: Any) -> None:
        """A job has failed, or was never submitted."""
        self._forget(job_info)
        self._line.try_now()
        number = job_info.external_jobid
        final = number is not None and says_not_retried(job_info, since=self._since[number])
        if (job_info.aux or {}).get("taken_over") and not final and not self._stopping.is_set():
            self._tell(
                f"SLURM job {job_info.external_jobid}, taken over from an earlier Snakemake, has ended without its "
                f"result ({(msg or '').strip()}); {self._name_of(job_info.job)} is submitted anew"
            )
            self._job_submission_executor.submit(self.run_job, job_info.job)
            return
        if final:
            _retry_no_more(job_info.job)
        super().report_job_error(job_info, msg=msg, **options)

    def _forget(self, job_info: SubmittedJobInfo) -> None:
        with self._lock:
            self._in_slurm.pop(job_info.external_jobid or "", None)

    async def check_active_jobs(self, active_jobs: list[SubmittedJobInfo]) -> AsyncIterator[SubmittedJobInfo]:
        """Ask for the states of these jobs; gives those that are not over."""
        self._asked = [job_info.external_jobid for job_info in active_jobs]
        async for job_info in super().check_active_jobs(active_jobs):
            yield job_info

    async def _query(self, command: str, logger: Any) -> tuple[dict[str, str], float]:
        """In place of the plugin's question, an ``sacct`` or ``squeue`` for the one name of all jobs.

        No answer is an empty one: the plugin asks again for jobs that Slurm has not heard of yet.
        """
        began = time.monotonic()
        ask = self._by_accounts if command.startswith("sacct") else self._by_controller
        states = await ask()
        self._states |= states
        for line in self._stuck.new_messages(job for job, state in states.items() if state == "PENDING"):
            logger.warning(line)
        return states, time.monotonic() - began

    async def _by_accounts(self) -> dict[str, str]:
        starts = await starts_by_accounts(self._asked, clusters=bool(self._submitted_job_clusters))
        if starts is None:
            return {}
        states = latest(starts)
        open_ones = [job for job, state in states.items() if state in LEFT_TO_SLURM]
        missing = [job for job in self._asked if job not in states and self._is_old(job)]
        if open_ones or missing:
            held = await states_by_controller([*open_ones, *missing])
            states = settled(states, held)
            if held is not None:
                states |= {job: held.get(job, "UNKNOWN") for job in missing}
        for start, place in interruptions(starts, self._since):
            if (start.job, place) not in self._told:
                self._told.add((start.job, place))
                then = "" if states.get(start.job) == "CANCELLED" else "; Slurm starts it again"
                self._interrupted(start.job, MEANING[start.state], start.nodes, then)
        return states

    async def _by_controller(self) -> dict[str, str]:
        states = await states_by_controller(self._asked)
        if states is None:
            return {}
        for job, state in states.items():
            if state == "PENDING" and self._states.get(job) in ("RUNNING", "COMPLETING"):
                self._interrupted(job, "was put back into the queue by Slurm", "", "")
        missing = [job for job in self._asked if job not in states and self._is_old(job)]
        return settled(states, states) | dict.fromkeys(missing, "UNKNOWN")

    def _is_old(self, number: str) -> bool:
        """Whether Slurm should know a job by now. One that it does not is over, and Snakemake looks for its outputs."""
        return time.time() - self._since[number] > FORGOTTEN

    def _interrupted(self, number: str, what: str, nodes: str, then: str) -> None:
        job_info = self._in_slurm.get(number)
        name = "" if job_info is None else f"Job {job_info.job.jobid} ({self._name_of(job_info.job)}), "
        self.logger.warning(f"{name}SLURM jobid {number}, {what}{f' on {nodes}' if nodes else ''}{then}.")

    @property
    def next_seconds_between_status_checks(self) -> float:
        """Seconds until the states are asked for again."""
        seconds: float = super().next_seconds_between_status_checks
        return seconds

    @next_seconds_between_status_checks.setter
    def next_seconds_between_status_checks(self, seconds: float) -> None:
        first = self.workflow.executor_settings.init_seconds_before_status_checks
        self._next_seconds_between_status_checks = min(seconds, SLOWEST * first)

    def _report_efficiency(self, **options: Any) -> None:
        """What the plugin writes in the end; without it the run is no worse."""
        try:
            self._report(**options)
        except Exception as error:
            self.logger.warning(f"no efficiency report: {error}")

    def _accounts(self, _: str, logger: Any) -> list[str] | None:
        """In place of the plugin's question for its efficiency report: our jobs by their numbers."""
        if not self._since:
            return None
        command = ["sacct", "--parsable2", "--noheader", f"--format={ACCOUNTS}", f"--jobs={','.join(self._since)}"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, stdin=subprocess.DEVNULL)
        except (OSError, subprocess.TimeoutExpired):
            return None
        rows = [line.split("|") for line in done.stdout.splitlines() if line.count("|") == ACCOUNTS.count(",")]
        if not any(row[4].strip("0:.") for row in rows):
            logger.info("no efficiency report: this Slurm does not record the time that jobs have computed")
            return None
        for row in rows:
            if "." not in row[0]:  # of a job, not of its steps; the plugin leaves out what is called batch or extern
                row[1], row[2] = row[0], row[1]
        return ["|".join(row) for row in rows]

    # --- the end ---

    def cancel(self) -> None:
        """End everything, on Ctrl-C."""
        self._stopping.set()
        super().cancel()

    def cancel_jobs(self, active_jobs: list[SubmittedJobInfo]) -> None:
        """End all jobs in Slurm, also those whose states are being asked for."""
        with self._lock:
            jobs = list(self._in_slurm.values())
        super().cancel_jobs(jobs)

    def shutdown(self) -> None:
        """End this executor: all jobs are over, or were cancelled."""
        self._stopping.set()
        super().shutdown()

    def _scancel(self, numbers: Sequence[str]) -> None:
        with suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(["scancel", *numbers], capture_output=True, timeout=SECONDS, stdin=subprocess.DEVNULL)


def _check_extra(job: Any) -> None:
    check_extra(job.resources.get("slurm_extra") or "", job.resources, job.name)


def _kind(job: Any) -> str:
    """The folder of a job's logs, as the plugin calls it."""
    return f"group_{job.name}" if job.is_group() else f"rule_{job.name}"


def _running(earlier: EarlierJob) -> EarlierJob:
    """An earlier job that is not in Slurm any more, as one that is just ending: the accounts say how."""
    return EarlierJob(earlier.number, ENDED, earlier.request, earlier.members, earlier.asked)


def _queue_of(job: Any) -> str:
    """What the limits of Slurm are about: jobs of the same partition, account and quality of service wait together."""
    return " ".join(str(job.resources.get(name)) for name in ("slurm_partition", "slurm_account", "qos"))


def _retry_no_more(job: Any) -> None:
    """Let Snakemake fail the job for good, as if this were its last attempt."""
    job._attempt = max(job.attempt, job.restart_times + 1)


def says_not_retried(job_info: SubmittedJobInfo, since: float) -> bool:
    """Whether the log of a failed job says that the same would happen again."""
    logs = [str(log) for one in (job_info.job.jobs if job_info.job.is_group() else [job_info.job]) for log in one.log]
    if slurm_log := (job_info.aux or {}).get("slurm_logfile"):
        logs.append(str(slurm_log))
    return any(NOT_RETRIED in _end_of(log, since) for log in logs)


def _end_of(path: str, since: float) -> str:
    """The last words of a log; none of one that was written before ``since``, by an earlier attempt."""
    try:
        if os.path.getmtime(path) < since:
            return ""
        with open(path, "rb") as file:
            file.seek(max(0, os.path.getsize(path) - 20_000))
            return file.read().decode(errors="replace")
    except OSError:
        return ""
