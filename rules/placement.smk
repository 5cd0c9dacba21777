# Where a job runs and with what: its threads, memory and time; on a cluster, the nodes that suit it. No rules. Nothing
# here decides a result.

import shlex
from ast import literal_eval
from functools import cache

from snakemake.logging import logger
from snakemake.resources import Resource
from tsumugi.slurm.executor import mend_plugin, mend_plugin_inside
from tsumugi.cluster.inventory import check_runs, load_inventory
from tsumugi.config.needs import Needs
from tsumugi.slurm.request import RESOURCES, check_all, make_request, request_for
from tsumugi.slurm.sbatch_options import check_extra
from tsumugi.slurm.start_check import check_jobs
from tsumugi.slurm.matching import Defaults
from tsumugi.workflow.hangup import stop_jobs_at_hangup

# --- threads and flags of the jobs that compute with a model ---


def timed_threads(request):
    """All cores of a workstation, so that a job whose time is reported runs alone there.

    On a cluster the cores of the machine that submits say nothing about the node: a job asks for what its processes
    use. `timed_jobs` in profiles/cluster/config.yaml decides whether it has the node to itself.
    """

    def threads(wildcards):
        if ON_CLUSTER:
            return request(wildcards).share.cpus
        return workflow.cores if workflow.local_exec else experiment.compute.threads

    return threads


def compute_threads(request):
    """Threads of each process of a timed job; on a cluster, no more than fit on its node."""
    threads = experiment.compute.threads
    return (lambda wildcards: request(wildcards).share.threads) if ON_CLUSTER else threads


def wished_micro_batch(run):
    """Examples of a run that the configuration wants computed at once; None where it leaves that open."""
    return experiment.compute.micro_batches.get(run, experiment.compute.micro_batch)


def run_micro_batch(wildcards):
    """The configured micro-batch, or 16, for jobs without a calibration; a resource and no param: it changes no result."""
    return wished_micro_batch(wildcards.run) or 16


def training_flags(wildcards):
    """Flags of train_model.py: that the workflow starts it, and those that only some configurations set."""
    compute, flags = experiment.compute, ["--in-workflow"]
    if (micro_batch := wished_micro_batch(wildcards.run)) is not None:
        flags += ["--micro-batch", str(micro_batch)]
    if INVENTORY_FILE is not None:
        flags += ["--inventory", INVENTORY_FILE]
    if compute.gradient_checkpointing:
        flags.append("--gradient-checkpointing")
    if compute.stage_to_scratch:
        flags.append("--stage")
    return shlex.join(flags)


def calibration_flags(wildcards):
    """Flags of calibrate_model.py that only some configurations set, as in training."""
    compute = experiment.compute
    flags = [] if compute.zero_stage == "auto" else ["--zero-stage", str(compute.zero_stage)]
    if compute.offload != "none" and compute.zero_stage != "auto":
        flags += ["--offload", compute.offload]
    if compute.gradient_checkpointing:
        flags.append("--gradient-checkpointing")
    return shlex.join(flags)


def first_seed(wildcards):
    """The seed that a run is calibrated with; it changes no time."""
    return experiment.runs[wildcards.run].seeds[0]


# --- where a job goes ---


def default_resource(name):
    """What the profile, or the command line, says of a resource for all jobs; None where it says nothing."""
    said = (workflow.resource_settings.default_resources or {}).get(name)
    return None if said is None or said.raw is None else str(said.raw).strip("'\"")


def profile_inventory():
    """The inventory that a cluster's profile names among its default-resources; None on a workstation."""
    said = default_resource("inventory")
    if said is None:
        return None
    path = Path(said)
    beside_snakefile = Path(workflow.basedir) / path
    return str(beside_snakefile if not path.exists() and beside_snakefile.exists() else path)


def timed_jobs_are_alone():
    """Whether jobs whose time is reported have their node to themselves: `timed_jobs` among the default-resources."""
    said = default_resource("timed_jobs") or "shared"
    if said not in ("exclusive", "shared"):
        raise WorkflowError(f"default-resources: timed_jobs is {said!r}; write exclusive or shared")
    return said == "exclusive"


ON_CLUSTER = profile_inventory() is not None
INVENTORY_FILE = experiment.compute.inventory or profile_inventory()
if ON_CLUSTER:  # jobs show the one in force
    workflow.resource_settings._parsed_default_resources["inventory"] = Resource(
        "inventory", INVENTORY_FILE, raw=repr(INVENTORY_FILE)
    )
TIMED_ALONE = timed_jobs_are_alone()
# What a training job asks for unless compute.needs says otherwise; memory and CPUs are for each of its processes.
TRAINING = Defaults(mem_mb=6000, minutes=720, threads=experiment.compute.threads, resumes=True)

try:  # before anything runs, not when the first job trains
    INVENTORY = load_inventory(INVENTORY_FILE) if INVENTORY_FILE is not None else None
    if INVENTORY is not None:
        check_runs(INVENTORY, INVENTORY_FILE, experiment.runs)
    if ON_CLUSTER and workflow.is_main_process:
        check_all(INVENTORY, experiment, TRAINING)
        if not all(kind.gpus for kind in INVENTORY.kinds.values()):
            make_request(INVENTORY, Needs(gpu_memory_gib=0), "jobs that need no GPU", Defaults(1, 1))
except TsumugiError as error:
    raise WorkflowError(str(error)) from None

if ON_CLUSTER and workflow.is_main_process:
    mend_plugin(Path.cwd())
elif ON_CLUSTER:
    mend_plugin_inside()
elif workflow.is_main_process:
    stop_jobs_at_hangup()  # on a cluster they go on, and the next Snakemake with them


@cache
def run_request(run):
    """What Slurm is asked for to train a run."""
    return request_for(INVENTORY, experiment, run, TRAINING)


@cache
def model_request(run, defaults):
    """What Slurm is asked for on behalf of a job of one process with a run's model, whatever its training spans."""
    return request_for(INVENTORY, experiment, run, defaults, alone=True)


@cache
def kind_request(kind, defaults):
    """What Slurm is asked for to measure one kind of machine."""
    return make_request(INVENTORY, Needs(kinds=(kind,)), f"calibrating {kind}", defaults)


@cache
def cpu_request(defaults):
    """What Slurm is asked for on behalf of a job that needs no GPU; None where the inventory knows no such machine."""
    if not ON_CLUSTER or all(kind.gpus for kind in INVENTORY.kinds.values()):
        return None
    return make_request(INVENTORY, Needs(gpu_memory_gib=0), "jobs that need no GPU", defaults)


def for_training(wildcards):
    """The request of a run's training."""
    return run_request(wildcards.run)


def for_model(mem_mb, runtime, threads=experiment.compute.threads):
    """The requests of jobs of one process with a run's model."""
    return lambda wildcards: model_request(wildcards.run, Defaults(mem_mb, runtime, threads))


def for_calibration(wildcards):
    """The request of a job that measures one kind of machine."""
    return kind_request(wildcards.kind, Defaults(6000, 60, experiment.compute.threads))


def placed(request, mem_mb, runtime, timed=False):
    """Memory and minutes of a job; on a cluster, all that ``request(wildcards)`` comes to.

    Args:
        timed: its time is reported.
    """
    if not ON_CLUSTER:
        return {"mem_mb": mem_mb, "runtime": runtime}
    return {name: asked(request, name) for name in RESOURCES} | ({"exclusive": TIMED_ALONE} if timed else {})


def asked(request, name):
    """A resource out of a request, for each job; a kind without a partition takes the profile's for all jobs."""

    def value(wildcards):
        try:
            said = request(wildcards).resources()[name]
        except TsumugiError as error:
            raise WorkflowError(str(error)) from None
        return default_resource(name) if name == "slurm_partition" and said is None else said

    return value


def calibrated_kinds(run):
    """The kinds of machines that a run may be trained on."""
    return run_request(run).kinds if ON_CLUSTER else ("here",)


def cpu_nodes(mem_mb, runtime, threads=1):
    """Resources of a job that needs no GPU: on a cluster, of the nodes without GPUs, if there are any.

    Args:
        runtime: minutes, or a function of the wildcards.
    """

    def request(wildcards):
        return cpu_request(Defaults(mem_mb, runtime(wildcards) if callable(runtime) else runtime, threads))

    if cpu_request(Defaults(mem_mb, 1)) is None:
        return {"mem_mb": mem_mb, "runtime": runtime} | ({"cpus_per_task": threads} if ON_CLUSTER else {})
    names = ("slurm_partition", "constraint", "runtime", "mem_mb", "cpus_per_task", "kinds")
    return {name: asked(request, name) for name in names}


def cpu_threads(threads):
    """CPUs of a job that needs no GPU: on a cluster, no more than its node has."""
    request = cpu_request(Defaults(1, 1, threads))
    return threads if request is None else request.share.cpus


def run_processes(wildcards):
    """Training processes of each machine."""
    if not ON_CLUSTER:
        return experiment.compute.processes
    return run_request(wildcards.run).processes or "auto"


def spanning(wildcards):
    """What stands before the command of a run that spans several nodes: it starts the command on each of them."""
    if not ON_CLUSTER or (request := run_request(wildcards.run)).nodes == 1:
        return ""
    command = ["python", f"{SCRIPTS}/span_nodes.py", "--nodes", str(request.nodes)]
    if request.gpus_in_all is not None:
        command += ["--gpus", str(request.gpus_in_all)]
    return shlex.join([*command, "--"])


def static_text(resource):
    """The value of a resource that is the same text for all jobs; None where it is an expression."""
    said = str(resource.raw)
    if said[:1] in ("'", '"'):
        try:
            return str(literal_eval(said))
        except (SyntaxError, ValueError):
            return None
    return said if said.startswith("-") else None


def check_own_options():
    """Refuse a `slurm_extra` that contradicts what its rule needs, as far as that is known before there are jobs."""
    if not ON_CLUSTER or not workflow.is_main_process:
        return
    for each in workflow.rules:
        extra, exclusive = each.resources.get("slurm_extra"), each.resources.get("exclusive")
        if extra is not None and (said := static_text(extra)) is not None:
            try:
                check_extra(said, {"exclusive": exclusive.raw if exclusive is not None else False}, each.name)
            except TsumugiError as error:
                raise WorkflowError(str(error)) from None


def check_start():
    """Before the first job: check the options of every job that will run, and whether Slurm has what it asks for.

    Without an inventory (where the profile's line was overwritten) no job would say which nodes it needs.
    """
    if not ON_CLUSTER and workflow.is_main_process and workflow.executor_plugin.name == "slurm":
        raise WorkflowError(
            "the executor is slurm, but no inventory is named, so jobs cannot say which nodes they need. "
            "--default-resources on the command line replaces all that the profile has there: write into the profile, "
            "or repeat inventory=profiles/cluster/nodes.yaml mem_mb=2000 runtime=60 timed_jobs=exclusive"
        )
    if not (ON_CLUSTER and workflow.is_main_process and workflow.executor_plugin.name == "slurm"):
        return
    try:
        jobs = [job for job in workflow.dag.needrun_jobs() if not job.is_local]
        for warning in check_jobs(jobs, INVENTORY, INVENTORY_FILE):
            logger.warning(warning)
    except TsumugiError as error:
        raise WorkflowError(str(error)) from None
