# Paths and input functions that several stages share. No rules.

SCRIPTS = str(Path(workflow.basedir) / "scripts")


def spec_json(wildcards):
    """The spec of one job as JSON; as a param it is tracked by Snakemake."""
    return json.dumps(SPECS[wildcards.stage](experiment, wildcards.name), ensure_ascii=False, sort_keys=True)


def shards(corpus):
    """Names of a corpus' shards: 00000, 00001, …"""
    return [f"{number:05d}" for number in range(experiment.corpora[corpus].num_shards)]


def timed_threads(_):
    """All cores of a workstation, so that a job whose time is reported runs alone; on a cluster it has its own node."""
    return workflow.cores or experiment.compute.threads


def run_micro_batch(wildcards):
    """Examples computed at once; a resource and no param, for it changes no result."""
    return experiment.compute.micro_batches.get(wildcards.run, experiment.compute.micro_batch)


def model_manifest(run, seed):
    return f"results/models/{run}/seed{seed}/manifest.json"


def tokenizer_manifest(tokenizer):
    return f"results/tokenizers/{tokenizer}/manifest.json"


def pairs_manifest(run):
    """Manifest of the pairs that a run on a task is trained on and tested with."""
    task, prompt = experiment.runs[run].task, experiment.runs[run].prompt
    return f"results/pairs/{task}/{prompt}/{experiment.tokenizer_of(run)}/manifest.json"


def token_manifests(corpus, tokenizer):
    return [f"results/tokens/{corpus}/{tokenizer}/{shard}.json" for shard in shards(corpus)]


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
