# Paths and input functions that several stages share. No rules.

import shlex

from tsumugi.training.inventory import load_inventory

if experiment.compute.inventory is not None:
    try:
        load_inventory(experiment.compute.inventory)  # before anything runs, not when the first job trains
    except TsumugiError as error:
        raise WorkflowError(str(error)) from None

# --- what decides a job, and what does not ---


def spec_json(wildcards):
    """The spec of one job as JSON; as a param it is tracked by Snakemake."""
    spec = SPECS[wildcards.stage](experiment, wildcards.name)
    return json.dumps(spec, ensure_ascii=False, indent=2)


def timed_threads(_):
    """All cores of a workstation, so that a job whose time is reported runs alone there.

    On a cluster the cores of the machine that submits say nothing about the node: a job asks for what it uses. That it
    has the node to itself is set in profiles/cluster, by `slurm_extra: "--exclusive"`.
    """
    return workflow.cores if workflow.local_exec else experiment.compute.threads


def wished_micro_batch(run):
    """Examples of a run that the configuration wants computed at once; None where it leaves that open."""
    return experiment.compute.micro_batches.get(run, experiment.compute.micro_batch)


def run_micro_batch(wildcards):
    """The same for jobs that no calibration knows of; a resource and no param, for it changes no result."""
    return wished_micro_batch(wildcards.run) or 16


def training_flags(wildcards):
    """The flags of train_model.py that stand only where the configuration sets them."""
    compute, flags = experiment.compute, []
    if (micro_batch := wished_micro_batch(wildcards.run)) is not None:
        flags += ["--micro-batch", str(micro_batch)]
    if compute.inventory is not None:
        flags += ["--inventory", compute.inventory]
    if compute.gradient_checkpointing:
        flags.append("--gradient-checkpointing")
    return shlex.join(flags)


# --- paths ---


def shards(corpus):
    """Names of a corpus' shards: 00000, 00001, …"""
    return [f"{number:05d}" for number in range(experiment.corpora[corpus].num_shards)]


def clean_manifests(corpus):
    """Manifests of a corpus' clean shards."""
    return [f"results/corpora/{corpus}/clean/{shard}.json" for shard in shards(corpus)]


def split_manifest(corpus):
    return f"results/corpora/{corpus}/split/manifest.json"


def tokenizer_manifest(tokenizer):
    return f"results/tokenizers/{tokenizer}/manifest.json"


def token_manifests(corpus, tokenizer):
    return [f"results/tokens/{corpus}/{tokenizer}/{shard}.json" for shard in shards(corpus)]


def pairs_manifest(run):
    """Manifest of the pairs that a run on a task is trained on and tested with."""
    task, prompt = experiment.runs[run].task, experiment.runs[run].prompt
    return f"results/pairs/{task}/{prompt}/{experiment.tokenizer_of(run)}/manifest.json"


def model_manifest(run, seed):
    return f"results/models/{run}/seed{seed}/manifest.json"


# --- input functions, in the order of the stages ---


def raw_inputs(wildcards):
    """One's own files, so that a changed file is read again; what a reader fetches is no input."""
    corpus = experiment.corpora[wildcards.corpus]
    if corpus.reader != "local_files":
        return []
    files = set()
    for pattern in corpus.files:
        found = [path for path in glob(pattern, recursive=True) if os.path.isfile(path)]
        if not found:
            raise WorkflowError(
                f"corpora.{wildcards.corpus}.files: {pattern!r} matches no file; paths are meant from the working "
                f"folder, {os.getcwd()}"
            )
        files.update(found)
    return sorted(files)


def corpus_normalized(wildcards):
    """Manifests of a corpus' normalized shards."""
    return [f"results/corpora/{wildcards.corpus}/shards/{shard}.json" for shard in shards(wildcards.corpus)]


def corpus_clean(wildcards):
    """Manifests of a corpus' clean shards."""
    return clean_manifests(wildcards.corpus)


def outside_model(wildcards):
    """Files of a model that came from outside, so that changed weights are seen; a hub name has none here."""
    run = wildcards.tokenizer.removeprefix("from-")
    try:
        return list(map(str, source_files(experiment.runs[run].init_from)))
    except TsumugiError as error:
        raise WorkflowError(f"runs.{run}.init_from: {error}") from None


def tokenizer_corpora(wildcards):
    """Manifests of what a tokenizer is trained on and measured with: splits and clean shards."""
    corpora = experiment.tokenizers[wildcards.tokenizer].corpora
    return [manifest for corpus in corpora for manifest in [split_manifest(corpus), *clean_manifests(corpus)]]


def task_clean(wildcards):
    """Manifests of the clean shards of a task's corpus."""
    return clean_manifests(experiment.tasks[wildcards.task].corpus)


def task_split(wildcards):
    """Manifest of the split of a task's corpus."""
    return split_manifest(experiment.tasks[wildcards.task].corpus)


def task_tokens(wildcards):
    """Manifests of the token files of a task's corpus."""
    return token_manifests(experiment.tasks[wildcards.task].corpus, wildcards.tokenizer)


def run_data(wildcards):
    """Manifests of what a run is trained on."""
    run = experiment.runs[wildcards.run]
    if run.corpora is None:
        return [pairs_manifest(wildcards.run)]
    tokenizer = experiment.tokenizer_of(wildcards.run)
    return [manifest for corpus in run.corpora for manifest in token_manifests(corpus, tokenizer)]


def run_start(wildcards):
    """Manifest of what a run starts from: another run, or its tokenizer."""
    source = experiment.runs[wildcards.run].init_from
    if source in experiment.runs:
        return model_manifest(source, wildcards.seed)
    return tokenizer_manifest(experiment.tokenizer_of(wildcards.run))


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
