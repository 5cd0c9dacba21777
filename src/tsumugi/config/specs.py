"""What decides the result of each stage: the part of the config that goes into its spec file, and nothing else.

A job re-runs when its spec changes, so a key that only says where or how fast must not appear here. What a job stands
on comes in through the manifests of its inputs. A function has the name of its rule.
"""

from collections.abc import Callable
from typing import Any

from tsumugi.config.experiment import Config
from tsumugi.config.report_spec import report_spec

Spec = dict[str, Any]
READING = {"num_shards", "bad_records", "max_document_bytes", "oversized"}  # keys of a corpus that come after fetching
STEPS = {"cleaning", "normalize", "filters", "dedup", "split", "leaks"}  # those that come after reading it
PROMPT_ENCODING = 2  # to be raised where tokenization/prompts.py makes other ids of the same text: encoded anew then


def fetch_corpus(config: Config, name: str) -> Spec:
    """Reader, what it reads, and the hashes that the raw files must have."""
    return config.corpora[name].model_dump(mode="json", exclude=READING | STEPS)


def shard_corpus(config: Config, name: str) -> Spec:
    """The same, into how many shards, and what becomes of records that are no documents."""
    return config.corpora[name].model_dump(mode="json", exclude=STEPS)


def normalize_shard(config: Config, name: str) -> Spec:
    """Cleaning, normalizer and filters."""
    return config.corpora[name].model_dump(mode="json", include={"cleaning", "normalize", "filters"})


def sign_shard(config: Config, name: str) -> Spec:
    """What near duplicates are."""
    near = config.corpora[name].dedup.near
    return {"dedup": {"near": near and near.model_dump(mode="json")}}


def find_duplicates(config: Config, name: str) -> Spec:
    """Which duplicates are dropped."""
    return config.corpora[name].model_dump(mode="json", include={"dedup"})


def clean_shard(config: Config, name: str) -> Spec:
    """Nothing: the duplicates decide."""
    return {}


def split_corpus(config: Config, name: str) -> Spec:
    """Method, ratios, seed, families."""
    return config.corpora[name].model_dump(mode="json", include={"split"})


def find_leaks(config: Config, name: str) -> Spec:
    """What a leak is, and whose test documents count: its own, and those of the corpora of all tasks.

    Its own do not, where the search for near duplicates leaves nothing so much alike.
    """
    corpus = config.corpora[name]
    near, leaks = corpus.dedup.near, corpus.leaks
    covered = near is not None and near.ngram == leaks.ngram and near.threshold <= leaks.threshold
    others = {task.corpus for task in config.tasks.values()} - {name}
    tested = sorted(others if covered else others | {name})
    shards = {other: config.corpora[other].num_shards for other in sorted({name, *tested})}
    return {"leaks": leaks.model_dump(mode="json"), "corpus": name, "tested": tested, "num_shards": shards}


def measure_overlap(config: Config, name: str) -> Spec:
    """Which shards; they and the split decide."""
    return {"corpus": name, "num_shards": config.corpora[name].num_shards}


def summarize_corpus(config: Config, name: str) -> Spec:
    """Nothing: the steps before decide."""
    return {}


def train_tokenizer(config: Config, name: str) -> Spec:
    """The tokenizer's section, and how many shards its corpora have."""
    tokenizer = config.tokenizers[name]
    shards = {corpus: config.corpora[corpus].num_shards for corpus in tokenizer.corpora}
    return {"tokenizer": tokenizer.model_dump(mode="json"), "num_shards": shards}


def import_tokenizer(config: Config, name: str) -> Spec:
    """Where the model lies whose tokenizer it is; its files are inputs of the rule."""
    return {"source": config.runs[name.removeprefix("from-")].init_from}


def encode_pairs(config: Config, name: str) -> Spec:
    """Which columns make a pair, the words around the input, the limits, and the version of how prompts are encoded.

    The name is {task}.{prompt}.
    """
    task_name, prompt = name.split(".")
    task = config.tasks[task_name]
    limits = task.model_dump(
        mode="json", include={"corpus", "input", "output", "max_input_tokens", "max_output_tokens"}
    )
    shards, template = config.corpora[task.corpus].num_shards, task.prompts[prompt]
    return {**limits, "num_shards": shards, "template": template, "encoding": PROMPT_ENCODING}


def train_model(config: Config, name: str) -> Spec:
    """Objective, data, start and recipe of a run."""
    run = config.runs[name]
    dump = run.model_dump(mode="json")
    return {
        "objective": dump["objective"],
        "corpora": dump["corpora"],
        "task": run.task,
        "prompt": run.prompt,
        "train_on_dev": run.train_on_dev,
        "architecture": config.architectures[run.architecture].model_dump(mode="json") if run.architecture else None,
        "init_from": None if run.init_from in config.runs else run.init_from,
        "adapter": dump["adapter"],
        "recipe": config.recipes[run.recipe].model_dump(mode="json"),
    }


def generate_text(config: Config, name: str) -> Spec:
    """How outputs are sampled, and how long they may be."""
    return config.tasks[name].model_dump(mode="json", include={"output", "max_output_tokens", "decoding"})


def score_likelihood(config: Config, name: str) -> Spec:
    """The prefix that is scored, and the resamples."""
    keys = {"output", "scored_characters", "bootstrap_samples", "seed"}
    return config.tasks[name].model_dump(mode="json", include=keys)


def score_quality(config: Config, name: str) -> Spec:
    """The same for generated texts."""
    return config.tasks[name].model_dump(mode="json", include={"scored_characters", "bootstrap_samples", "seed"})


def score_ngrams(config: Config, name: str) -> Spec:
    """The same for the counted n-grams, and how much is counted."""
    return {**score_likelihood(config, name), "max_tokens": config.tasks[name].ngram_tokens}


def build_report(config: Config, name: str) -> Spec:
    """Every comparison, and of each run what the page says about it."""
    return report_spec(config)


def verify_provenance(config: Config, name: str) -> Spec:
    """Which results there are, to find the manifest of each; nothing of what decides them."""
    scored = [(run.task, run.prompt, config.tokenizer_of(name)) for name, run in config.runs.items() if run.task]
    trained_on = [
        (corpus, config.tokenizer_of(name)) for name, run in config.runs.items() for corpus in run.corpora or ()
    ]
    counted = [(config.tasks[task].corpus, tokenizer) for task, _, tokenizer in scored]  # by the n-grams
    return {
        "report": bool(config.reports),
        "baselines": sorted({(task, tokenizer) for task, _, tokenizer in scored}),
        "runs": {name: {"seeds": list(run.seeds), "task": run.task} for name, run in config.runs.items()},
        "pairs": sorted(set(scored)),
        "tokens": sorted({*trained_on, *counted}),
        "tokenizers": sorted({*config.tokenizers, *map(config.tokenizer_of, config.runs)}),
        "measured": sorted(config.tokenizers),
        "corpora": {
            name: {"num_shards": corpus.num_shards, "near": corpus.dedup.near is not None}
            for name, corpus in config.corpora.items()
        },
    }


SPECS: dict[str, Callable[[Config, str], Spec]] = {
    function.__name__: function
    for function in (
        fetch_corpus,
        shard_corpus,
        normalize_shard,
        sign_shard,
        find_duplicates,
        clean_shard,
        split_corpus,
        find_leaks,
        measure_overlap,
        summarize_corpus,
        train_tokenizer,
        import_tokenizer,
        encode_pairs,
        train_model,
        generate_text,
        score_likelihood,
        score_quality,
        score_ngrams,
        build_report,
        verify_provenance,
    )
}
