# Specs, paths, and the input functions that several stages share. No rules.

from snakemake.io import contains_wildcard
from snakemake.logging import logger
from tsumugi.corpus.sources.addresses import is_url
from tsumugi.corpus.sources.file_patterns import matching_files
from tsumugi.layout import SPLITS, shard_name
from tsumugi.provenance import read_manifest


def spec_json(wildcards):
    """The spec of one job as JSON; as a param it is tracked by Snakemake."""
    spec = SPECS[wildcards.stage](experiment, wildcards.name)
    return json.dumps(spec, ensure_ascii=False, indent=2)


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
    from tsumugi.training.state.state_folders import forget

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
    from tsumugi.training.state.state_folders import word_of_others

    if word := word_of_others(Path("state")):
        logger.info(word)


# --- input functions, in the order of the stages ---


def raw_files(corpus):
    """The user's own files of a corpus, as its configuration names them now, without those that a reader fetches.

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
    """The user's own files of a corpus, so that a changed file is read again; fetched files are no input."""
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


def part_shards(wildcards):
    """Names of the shards of a part: 00000, 00001, …"""
    size = part_size(wildcards.corpus)
    first = int(wildcards.part) * size
    return [
        shard_name(shard) for shard in range(first, min(first + size, experiment.corpora[wildcards.corpus].num_shards))
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
