# Paths and input functions that several stages share. No rules.

import shlex
from ast import literal_eval
from functools import cache

from snakemake.io import contains_wildcard
from snakemake.logging import logger
from snakemake.resources import Resource
from tsumugi.cluster.executor import mend_plugin, mend_plugin_inside
from tsumugi.cluster.inventory import check_runs, load_inventory
from tsumugi.cluster.needs import Needs
from tsumugi.cluster.request import RESOURCES, check_all, make_request, request_for
from tsumugi.cluster.sbatch_options import check_extra
from tsumugi.cluster.start_check import check_jobs
from tsumugi.cluster.suiting import Defaults
from tsumugi.corpus.addresses import is_url, name_of
from tsumugi.corpus.file_patterns import matching_files
from tsumugi.hangup import stop_jobs_at_hangup
from tsumugi.provenance import read_manifest
from tsumugi.provenance.found_files import HashMemory, changed_files

# --- what decides a job, and what does not ---


def spec_json(wildcards):
    """The spec of one job as JSON; as a param it is tracked by Snakemake."""
    spec = SPECS[wildcards.stage](experiment, wildcards.name)
    return json.dumps(spec, ensure_ascii=False, indent=2)


def timed_threads(request):
    """All cores of a workstation, so that a job whose time is reported runs alone there.

    On a cluster the cores of the machine that submits say nothing about the node: a job asks for what its processes
    use. Whether it has the node to itself is said in profiles/cluster, by `timed_jobs`.
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
    """The same for jobs that no calibration knows of; a resource and no param, for it changes no result."""
    return wished_micro_batch(wildcards.run) or 16


def training_flags(wildcards):
    """The flags of train_model.py that say who starts it, and those that stand only where the configuration sets them."""
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
    """The flags of calibrate_model.py that stand only where the configuration sets them: as in training."""
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
# Of a job that trains, where compute.needs says nothing else: memory and CPUs are for each of its processes.
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
    mend_plugin(Path.cwd())  # what Snakemake's Slurm plugin lacks
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
    command = ["python", str(Path(scripts) / "span_nodes.py"), "--nodes", str(request.nodes)]
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
    """Refuse a `slurm_extra` that says otherwise what its rule needs, as far as that is seen without looking at a job."""
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
    """Before the first job: the same of each that is to run, and whether Slurm has what they ask for.

    Without an inventory no job would say which nodes it needs: where the profile's line was overwritten.
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


# --- paths ---

# At most so many jobs of a stage that goes shard by shard: a job takes several shards where there are more. Snakemake
# plans thousands of jobs slowly, its own groups slower still, and no queue likes them.
SHARD_JOBS = 100


def part_size(corpus):
    """How many shards of a corpus one job goes through: one, as long as that makes no more than SHARD_JOBS jobs."""
    return -(-experiment.corpora[corpus].num_shards // SHARD_JOBS)


def part_files(folder, corpus):
    """Files that name the manifests of a corpus' shards in ``folder``, each those of one job: part-000.json, …"""
    number = -(-experiment.corpora[corpus].num_shards // part_size(corpus))
    return [f"{folder}/part-{part:03d}.json" for part in range(number)]


def clean_parts(corpus):
    """Files that name the manifests of a corpus' clean shards."""
    return part_files(f"results/corpora/{corpus}/clean", corpus)


def split_manifests(corpus):
    """Manifests of which documents are for training, development and test, and which of the first two are leaks."""
    return [f"results/corpora/{corpus}/split/{name}.json" for name in ("manifest", "leaks")]


def tokenizers_of(*kinds):
    """Pattern of the names of the configuration's tokenizers of these kinds."""
    names = [name for name, tokenizer in experiment.tokenizers.items() if tokenizer.kind in kinds]
    return "|".join(map(re.escape, names)) or "(?!)"


def tokenizer_manifest(tokenizer):
    return f"results/tokenizers/{tokenizer}/manifest.json"


def token_parts(corpus, tokenizer):
    """Files that name the manifests of a corpus' token files."""
    return part_files(f"results/tokens/{corpus}/{tokenizer}", corpus)


def pairs_manifest(run):
    """Manifest of the pairs that a run on a task is trained on and tested with."""
    task, prompt = experiment.runs[run].task, experiment.runs[run].prompt
    return f"results/pairs/{task}/{prompt}/{experiment.tokenizer_of(run)}/manifest.json"


def model_manifest(run, seed):
    return f"results/models/{run}/seed{seed}/manifest.json"


def start_of(run, seed):
    """Manifest of what a run starts from: another run, or its tokenizer."""
    source = experiment.runs[run].init_from
    if source in experiment.runs:
        return model_manifest(source, seed)
    return tokenizer_manifest(experiment.tokenizer_of(run))


def forget_states():
    """Remove the states of the runs that are finished.

    Training leaves there a copy of its manifest. Snakemake removes the outputs of a job that it takes for unfinished,
    because it or Snakemake itself was killed in the last moments; the next start then puts them back from the copy.
    """
    from tsumugi.training.states import forget

    manifests = {(run, seed): model_manifest(run, seed) for run, seed in SEEDED_RUNS}
    unfinished = workflow.persistence._filter_incomplete_keys(list(manifests.values()))
    for (run, seed), manifest in manifests.items():
        state = Path(f"state/{run}/seed{seed}")
        if state.exists() and os.path.exists(manifest) and manifest not in unfinished:
            try:
                forget(state, read_manifest(manifest))
            except (TsumugiError, OSError) as error:
                logger.info(f"{state}: could not be removed: {error}")


def say_states():
    """Say what else lies in state/, and how large it is."""
    from tsumugi.training.states import word_of_others

    if word := word_of_others(Path("state")):
        logger.info(word)


# --- input functions, in the order of the stages ---


def raw_files(corpus):
    """One's own files of a corpus, as its configuration names them now; what a reader fetches is not among them.

    Raises WorkflowError where a pattern matches no file, or one whose name Snakemake cannot take.
    """
    section = experiment.corpora[corpus]
    key, patterns = "files", getattr(section, "files", ())
    if section.reader == "hf_dataset" and section.folder:
        folder = escape(str(Path(section.folder)))  # as the reader writes its files' paths
        key, patterns = "folder", [f"{folder}/**/*.arrow", f"{folder}/**/state.json"]
    files = set()
    for pattern in patterns:
        if is_url(pattern):
            continue
        found = matching_files(pattern)
        if not found:
            raise WorkflowError(
                f"corpora.{corpus}.{key}: {pattern!r} matches no file; paths are meant from the working "
                f"folder, {os.getcwd()}"
            )
        if braces := next(filter(contains_wildcard, found), None):  # nothing tells Snakemake that it is none
            raise WorkflowError(
                f"corpora.{corpus}.{key}: the name of {braces} has braces, which stand for a wildcard in Snakemake; "
                "rename the file"
            )
        files.update(found)
    return sorted(files)


def raw_inputs(wildcards):
    """One's own files, so that a changed file is read again; what a reader fetches is no input."""
    make_again_if_replaced(f"results/corpora/{wildcards.corpus}/raw.json")
    return raw_files(wildcards.corpus)


def model_files(run):
    """Files of a model that came from outside; a hub name has none here. Raises WorkflowError where there is none."""
    try:
        files = source_files(experiment.runs[run].init_from)
        if files:
            check_files(files[0].parent)
        return list(map(str, files))
    except TsumugiError as error:
        raise WorkflowError(f"runs.{run}.init_from: {error}") from None


SHOWN = 5  # of the files that were replaced
REPLACED = set()  # manifests of results that stand on files which are no longer the recorded ones


def make_again_if_replaced(manifest):
    """Have Snakemake make a result anew whose files were replaced, whatever their times say.

    Called by the rule's input function: the jobs are being planned then, and none of them has been decided on.
    """
    if manifest in REPLACED and workflow.is_main_process:
        workflow.dag.forcefiles.add(manifest)


def check_found_files():
    """Compare the raw files, and the models from outside, with what the manifests of their results recorded of them.

    Snakemake looks at times: it does not see a file that was replaced by an older one. And where the files that the
    configuration names are gone, it finds their results and asks for no more: what an input function raises is not
    heard then.
    """
    memory = HashMemory(".snakemake/found_files.json")
    for corpus in experiment.corpora:
        made = f"results/corpora/{corpus}/raw.json"
        if not os.path.exists(made):
            continue
        if spec_of(made) != SPECS["fetch_corpus"](experiment, corpus):
            raw_files(corpus)  # made with another configuration; are the files of this one there?
            continue
        recorded = set(read_manifest(made)["outputs"])
        one_part = experiment.corpora[corpus].reader == "hf_dataset"  # of a saved dataset; others may lie beside it
        own = lambda: recorded.intersection(raw_files(corpus)) if one_part else raw_files(corpus)
        compare_found_files(made, recorded, own, fetched_files(corpus, recorded), memory)
    for run in {experiment.first_run(run) for run in experiment.runs}:
        made, source = f"results/tokenizers/from-{run}/manifest.json", experiment.runs[run].init_from
        if source is None or not os.path.exists(made) or (spec_of(made) or {}).get("source") != source:
            continue
        recorded = {name for name in read_manifest(made)["outputs"] if not name.startswith(os.path.dirname(made))}
        compare_found_files(made, recorded, lambda: model_files(run), set(), memory)
    memory.save()


def fetched_files(corpus, recorded):
    """Those of the recorded raw files that a reader has fetched: when they are gone, others may come in their place."""
    section = experiment.corpora[corpus]
    if section.reader == "hf_dataset" and section.folder:
        return set()
    if not hasattr(section, "files"):
        return recorded
    return {f"data/{corpus}/{name_of(file)}" for file in section.files if is_url(file)}


def compare_found_files(manifest, recorded, find, fetched, memory):
    """Note whether a result has to be made again, and say why; or say that it cannot be.

    ``find()`` gives the files of one's own that there are now, those that are not ``fetched``.
    """
    told = changed_files(manifest, recorded, memory)
    gone = {name for name in told if not os.path.isfile(name)}
    try:
        new = {os.path.relpath(name) for name in find()} - recorded
    except WorkflowError:
        new, is_complete = set(), False
    else:
        is_complete = not gone & fetched
    told |= {name: f"is new since {manifest} was written" for name in sorted(new)}
    if told and is_complete:
        REPLACED.add(manifest)
    outcome = "what stands on it is to be made again" if is_complete else "what was made of it stays"
    for name, reason in list(told.items())[:SHOWN]:
        logger.warning(f"{name}: {reason}; {outcome}")
    if len(told) > SHOWN:
        logger.warning(f"{manifest}: so it is with {len(told) - SHOWN} files more")


def spec_of(manifest):
    """What a manifest was made from; None of a file that is none: the job that reads it says so."""
    try:
        return read_manifest(manifest)["spec"]
    except TsumugiError:
        return None


def part_shards(wildcards):
    """Names of the shards of a part: 00000, 00001, …"""
    size = part_size(wildcards.corpus)
    first = int(wildcards.part) * size
    return [
        f"{shard:05d}" for shard in range(first, min(first + size, experiment.corpora[wildcards.corpus].num_shards))
    ]


def part_minutes(minutes):
    """Time limit of a job that goes through a part, from that of one shard; twelve hours at most."""
    return lambda wildcards: min(720, minutes * part_size(wildcards.corpus))


def corpus_normalized(wildcards):
    """A corpus' normalized shards."""
    return part_files(f"results/corpora/{wildcards.corpus}/shards", wildcards.corpus)


def corpus_signatures(wildcards):
    """What near duplicates are found by, if they are looked for."""
    if experiment.corpora[wildcards.corpus].dedup.near is None:
        return []
    return part_files(f"results/corpora/{wildcards.corpus}/signatures", wildcards.corpus)


def corpus_split(wildcards):
    """Manifests of the split of a corpus, and of its leaks."""
    return split_manifests(wildcards.corpus)


def leak_corpora(wildcards):
    """The clean shards and the split of a corpus, and of those whose test documents it is compared with."""
    spec = SPECS["find_leaks"](experiment, wildcards.corpus)
    corpora = {wildcards.corpus: None} | dict.fromkeys(spec["tested"])
    return [path for corpus in corpora for path in [split_manifests(corpus)[0], *clean_parts(corpus)]]


def corpus_clean(wildcards):
    """A corpus' clean shards."""
    return clean_parts(wildcards.corpus)


def outside_model(wildcards):
    """Files of a model that came from outside, so that changed weights are seen; a hub name has none here."""
    make_again_if_replaced(f"results/tokenizers/{wildcards.tokenizer}/manifest.json")
    return model_files(wildcards.tokenizer.removeprefix("from-"))


def tokenizer_corpora(wildcards):
    """What a tokenizer is trained on and measured with: splits and clean shards."""
    corpora = experiment.tokenizers[wildcards.tokenizer].corpora
    return [path for corpus in corpora for path in [*split_manifests(corpus), *clean_parts(corpus)]]


def task_clean(wildcards):
    """The clean shards of a task's corpus."""
    return clean_parts(experiment.tasks[wildcards.task].corpus)


def task_split(wildcards):
    """Manifests of the split of a task's corpus, and of its leaks."""
    return split_manifests(experiment.tasks[wildcards.task].corpus)


def task_tokens(wildcards):
    """The token files of a task's corpus."""
    return token_parts(experiment.tasks[wildcards.task].corpus, wildcards.tokenizer)


def run_data(wildcards):
    """What a run is trained on: token files of its corpora, or pairs."""
    run = experiment.runs[wildcards.run]
    if run.corpora is None:
        return [pairs_manifest(wildcards.run)]
    tokenizer = experiment.tokenizer_of(wildcards.run)
    return [path for corpus in run.corpora for path in token_parts(corpus, tokenizer)]


def run_start(wildcards):
    """Manifest of what a run starts from."""
    return start_of(wildcards.run, wildcards.seed)


def calibrated_start(wildcards):
    """The same for the job that calibrates a run."""
    return start_of(wildcards.run, first_seed(wildcards))


def run_pairs(wildcards):
    """Manifest of the pairs of a run's task."""
    return pairs_manifest(wildcards.run)


def baseline_pairs(wildcards):
    """Manifest of the pairs that name the test documents: those of the first run on the task with this tokenizer."""
    for name, run in experiment.runs.items():
        if run.task == wildcards.task and experiment.tokenizer_of(name) == wildcards.tokenizer:
            return pairs_manifest(name)
    raise WorkflowError(f"no run on task {wildcards.task} has the tokenizer {wildcards.tokenizer}")


def report_inputs(_):
    """Manifests of everything that the report shows."""
    return report_manifests(report_spec(experiment))


def verified_results(_):
    """Spec of the job that verifies. It runs whenever it is asked for: Snakemake cannot know that files have changed."""
    if workflow.is_main_process:
        workflow.dag.forcerules.add(workflow.get_rule("verify_provenance"))
    return "results/specs/verify_provenance/results.json"
