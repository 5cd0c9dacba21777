"""Where a job runs and with what: its threads, memory and time; on a cluster, the nodes that suit it.

Nothing here decides a result. On a cluster means that a profile names an inventory among its default resources.
"""

import shlex
from ast import literal_eval
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snakemake.exceptions import WorkflowError
from snakemake.iocontainers import Wildcards
from snakemake.logging import logger
from snakemake.resources import Resource

from tsumugi.cluster.inventory import Inventory, check_runs, load_inventory
from tsumugi.config.experiment import Config
from tsumugi.config.needs import Needs
from tsumugi.errors import TsumugiError
from tsumugi.slurm.matching import Defaults
from tsumugi.slurm.request import RESOURCES, Request, check_all, make_request, request_for
from tsumugi.slurm.sbatch_options import check_extra
from tsumugi.slurm.start_check import check_jobs

if TYPE_CHECKING:
    from snakemake.workflow import Workflow  # it cannot be imported first

Find = Callable[[Wildcards], Request]  # the request of a job
MICRO_BATCH = 16  # examples, for jobs without a calibration
TRAINING_MB, TRAINING_MINUTES = 6000, 720  # memory of each process, and time, unless compute.needs says otherwise
CALIBRATION_MB, CALIBRATION_MINUTES = 6000, 60
CPU_RESOURCES = ("slurm_partition", "constraint", "runtime", "mem_mb", "cpus_per_task", "kinds")


class Placement:
    """The threads and resources of the rules' jobs, and the checks before the first of them.

    Attributes:
        on_cluster: whether a profile names an inventory.
        training: what a training job asks for unless compute.needs says otherwise; memory and CPUs of each process.
    """

    def __init__(self, workflow: "Workflow", config: Config) -> None:
        """Read the inventory and check the runs against it.

        Raises:
            WorkflowError: the inventory is wrong, or no machine suits a run.
        """
        self.workflow, self.config = workflow, config
        self.training = Defaults(TRAINING_MB, TRAINING_MINUTES, config.compute.threads, resumes=True)
        self._profile_inventory = self._find_profile_inventory()
        self.on_cluster = self._profile_inventory is not None
        self._inventory_file = config.compute.inventory or self._profile_inventory
        if self.on_cluster:  # jobs show the one in force
            workflow.resource_settings._parsed_default_resources["inventory"] = Resource(
                "inventory", self._inventory_file, raw=repr(self._inventory_file)
            )
        self._timed_alone = self._timed_jobs_are_alone()
        try:
            self._inventory = load_inventory(self._inventory_file) if self._inventory_file is not None else None
            self._check_runs()
        except TsumugiError as error:
            raise WorkflowError(str(error)) from None
        # cached, because a request takes time to make and many jobs share it
        self._run_request = cache(self._request_of_run)
        self._model_request = cache(self._request_of_model)
        self._kind_request = cache(self._request_of_kind)
        self._cpu_request = cache(self._request_without_gpu)

    # --- what the profile says ---

    def _default_resource(self, name: str) -> str | None:
        """What the profile, or the command line, says of a resource for all jobs; None where it says nothing."""
        said = (self.workflow.resource_settings.default_resources or {}).get(name)
        return None if said is None or said.raw is None else str(said.raw).strip("'\"")

    def _find_profile_inventory(self) -> str | None:
        """The inventory that a cluster's profile names among its default-resources; None on a workstation."""
        said = self._default_resource("inventory")
        if said is None:
            return None
        path = Path(said)
        beside_snakefile = Path(self.workflow.basedir) / path
        return str(beside_snakefile if not path.exists() and beside_snakefile.exists() else path)

    def _timed_jobs_are_alone(self) -> bool:
        """Whether jobs whose time is reported have their node to themselves: `timed_jobs` of the default-resources."""
        said = self._default_resource("timed_jobs") or "shared"
        if said not in ("exclusive", "shared"):
            raise WorkflowError(f"default-resources: timed_jobs is {said!r}; write exclusive or shared")
        return said == "exclusive"

    # --- requests ---

    @property
    def _machines(self) -> Inventory:
        assert self._inventory is not None, "requests are made on a cluster alone"
        return self._inventory

    def _request_of_run(self, run: str) -> Request:
        return request_for(self._machines, self.config, run, self.training)

    def _request_of_model(self, run: str, defaults: Defaults) -> Request:
        """Of a job of one process with a run's model, whatever its training spans."""
        return request_for(self._machines, self.config, run, defaults, alone=True)

    def _request_of_kind(self, kind: str, defaults: Defaults) -> Request:
        return make_request(self._machines, Needs(kinds=(kind,)), f"calibrating {kind}", defaults)

    def _request_without_gpu(self, defaults: Defaults) -> Request | None:
        """Of a job that needs no GPU; None where the inventory has no machine without."""
        if not self.on_cluster or all(kind.gpus for kind in self._machines.kinds.values()):
            return None
        return make_request(self._machines, Needs(gpu_memory_gib=0), "jobs that need no GPU", defaults)

    def for_training(self, wildcards: Wildcards) -> Request:
        """The request of a run's training."""
        return self._run_request(wildcards.run)

    def for_model(self, mem_mb: int, runtime: int, threads: int | None = None) -> Find:
        """The requests of jobs of one process with a run's model.

        Args:
            mem_mb: memory in MiB.
            runtime: minutes.
            threads: CPUs; None: those of compute.threads.
        """
        defaults = Defaults(mem_mb, runtime, self.config.compute.threads if threads is None else threads)
        return lambda wildcards: self._model_request(wildcards.run, defaults)

    def for_calibration(self, wildcards: Wildcards) -> Request:
        """The request of a job that measures one kind of machine."""
        defaults = Defaults(CALIBRATION_MB, CALIBRATION_MINUTES, self.config.compute.threads)
        return self._kind_request(wildcards.kind, defaults)

    def calibrated_kinds(self, run: str) -> tuple[str, ...]:
        """The kinds of machines that a run may be trained on."""
        return self._run_request(run).kinds if self.on_cluster else ("here",)

    # --- resources ---

    def resources(self, request: Find, mem_mb: int, runtime: int, timed: bool = False) -> dict[str, Any]:
        """Memory and minutes of a job; on a cluster, all that its request comes to.

        Args:
            timed: its time is reported.
        """
        if not self.on_cluster:
            return {"mem_mb": mem_mb, "runtime": runtime}
        requested = {name: self._resource(request, name) for name in RESOURCES}
        return requested | ({"exclusive": self._timed_alone} if timed else {})

    def cpu_resources(self, mem_mb: int, runtime: int | Callable[[Wildcards], int], threads: int = 1) -> dict[str, Any]:
        """Resources of a job that needs no GPU: on a cluster, of the nodes without GPUs, if there are any.

        Args:
            runtime: minutes, or a function of the wildcards.
        """

        def request(wildcards: Wildcards) -> Request:
            minutes = runtime(wildcards) if callable(runtime) else runtime
            requested = self._cpu_request(Defaults(mem_mb, minutes, threads))
            assert requested is not None, "there are machines without GPUs"
            return requested

        if self._cpu_request(Defaults(mem_mb, 1)) is None:
            return {"mem_mb": mem_mb, "runtime": runtime} | ({"cpus_per_task": threads} if self.on_cluster else {})
        return {name: self._resource(request, name) for name in CPU_RESOURCES}

    def _resource(self, request: Find, name: str) -> Callable[[Wildcards], Any]:
        """A resource out of a request, for each job; a kind without a partition takes the profile's for all jobs."""

        def value(wildcards: Wildcards) -> Any:
            try:
                requested = request(wildcards).resources()[name]
            except TsumugiError as error:
                raise WorkflowError(str(error)) from None
            return self._default_resource(name) if name == "slurm_partition" and requested is None else requested

        return value

    # --- threads ---

    def timed_threads(self, request: Find) -> Callable[[Wildcards], int]:
        """All cores of a workstation, so that a job whose time is reported runs alone there.

        On a cluster the cores of the machine that submits say nothing about the node: a job asks for what its processes
        use. `timed_jobs` in profiles/cluster/config.yaml decides whether it has the node to itself.
        """

        def threads(wildcards: Wildcards) -> int:
            if self.on_cluster:
                return request(wildcards).share.cpus
            return self.workflow.cores if self.workflow.local_exec else self.config.compute.threads

        return threads

    def compute_threads(self, request: Find) -> int | Callable[[Wildcards], int]:
        """Threads of each process of a timed job; on a cluster, no more than fit on its node."""
        threads = self.config.compute.threads
        return (lambda wildcards: request(wildcards).share.threads) if self.on_cluster else threads

    def cpu_threads(self, threads: int) -> int:
        """CPUs of a job that needs no GPU: on a cluster, no more than its node has."""
        request = self._cpu_request(Defaults(1, 1, threads))
        return threads if request is None else request.share.cpus

    # --- flags of the scripts that compute with a model ---

    def _configured_micro_batch(self, run: str) -> int | None:
        compute = self.config.compute
        return compute.micro_batches.get(run, compute.micro_batch)

    def micro_batch(self, wildcards: Wildcards) -> int:
        """The configured micro-batch, or 16; a resource and no param, for it changes no result."""
        return self._configured_micro_batch(wildcards.run) or MICRO_BATCH

    def training_flags(self, wildcards: Wildcards) -> str:
        """Flags of train_model.py: that the workflow starts it, and those that only some configurations set."""
        compute, flags = self.config.compute, ["--in-workflow"]
        if (micro_batch := self._configured_micro_batch(wildcards.run)) is not None:
            flags += ["--micro-batch", str(micro_batch)]
        if self._inventory_file is not None:
            flags += ["--inventory", self._inventory_file]
        if compute.gradient_checkpointing:
            flags.append("--gradient-checkpointing")
        if compute.stage_to_scratch:
            flags.append("--stage")
        return shlex.join(flags)

    def calibration_flags(self, _: Wildcards) -> str:
        """Flags of calibrate_model.py that only some configurations set, as in training."""
        compute = self.config.compute
        flags = [] if compute.zero_stage == "auto" else ["--zero-stage", str(compute.zero_stage)]
        if compute.offload != "none" and compute.zero_stage != "auto":
            flags += ["--offload", compute.offload]
        if compute.gradient_checkpointing:
            flags.append("--gradient-checkpointing")
        return shlex.join(flags)

    def processes(self, wildcards: Wildcards) -> int | str:
        """Training processes of each machine."""
        if not self.on_cluster:
            return self.config.compute.processes
        return self._run_request(wildcards.run).processes or "auto"

    def node_launcher(self, wildcards: Wildcards) -> str:
        """What stands before the command of a run that spans several nodes: it starts the command on each of them."""
        if not self.on_cluster or (request := self._run_request(wildcards.run)).nodes == 1:
            return ""
        command = ["span_nodes.py", "--nodes", str(request.nodes)]
        if request.gpus_in_all is not None:
            command += ["--gpus", str(request.gpus_in_all)]
        return shlex.join([*command, "--"])

    # --- checks, in the main process alone ---

    def _check_runs(self) -> None:
        """Before anything runs, and not when the first job trains."""
        if self._inventory is None or self._inventory_file is None:
            return
        check_runs(self._inventory, self._inventory_file, self.config.runs)
        if self.on_cluster and self.workflow.is_main_process:
            check_all(self._inventory, self.config, self.training)
            self._request_without_gpu(Defaults(1, 1))

    def check_own_options(self) -> None:
        """Refuse a `slurm_extra` that contradicts what its rule needs, as far as it is known before there are jobs."""
        if not self.on_cluster or not self.workflow.is_main_process:
            return
        for rule in self.workflow.rules:
            extra, exclusive = rule.resources.get("slurm_extra"), rule.resources.get("exclusive")
            if extra is not None and (text := _static_text(extra)) is not None:
                try:
                    check_extra(text, {"exclusive": exclusive.raw if exclusive is not None else False}, rule.name)
                except TsumugiError as error:
                    raise WorkflowError(str(error)) from None

    def check_start(self) -> None:
        """Before the first job: check the options of every job that will run, and whether Slurm has what it asks for.

        Without an inventory (where the profile's line was overwritten) no job would say which nodes it needs.
        """
        if not self.workflow.is_main_process or self.workflow.executor_plugin.name != "slurm":
            return
        if not self.on_cluster:
            raise WorkflowError(
                "the executor is slurm, but no inventory is named, so jobs cannot say which nodes they need. "
                "--default-resources on the command line replaces all that the profile has there: write into the "
                "profile, or repeat inventory=profiles/cluster/nodes.yaml mem_mb=2000 runtime=60 timed_jobs=exclusive"
            )
        try:
            jobs = [job for job in self.workflow.dag.needrun_jobs() if not job.is_local]
            for warning in check_jobs(jobs, self._machines, str(self._inventory_file)):
                logger.warning(warning)
        except TsumugiError as error:
            raise WorkflowError(str(error)) from None


def _static_text(resource: Resource) -> str | None:
    """The value of a resource that is the same text for all jobs; None where it is an expression."""
    raw = str(resource.raw)
    if raw[:1] in ("'", '"'):
        try:
            return str(literal_eval(raw))
        except (SyntaxError, ValueError):
            return None
    return raw if raw.startswith("-") else None
