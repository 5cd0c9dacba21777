"""The manifests of all results of an experiment, whether they are made yet or not.

``spec`` is that of the rule verify_provenance, see ``specs.py``. Only what the configuration names is among them: a run
that it no longer holds may stand on files that were made again since.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from tsumugi import layout

KEYS = ("report", "baselines", "runs", "pairs", "tokens", "tokenizers", "measured", "corpora")  # of the spec


def result_manifests(spec: Mapping[str, Any]) -> Iterator[str]:
    """Their paths, from the report back to the raw files."""
    if spec["report"]:
        yield "results/report/manifest.json"
    yield from (str(layout.baseline(task, tokenizer)) for task, tokenizer in spec["baselines"])
    for run, described in spec["runs"].items():
        for seed in described["seeds"]:
            if (task := described["task"]) is not None:
                yield from (str(layout.score(run, seed, task, what)) for what in ("quality", "likelihood"))
                yield str(layout.generations(run, seed, task).with_suffix(".json"))
            yield str(layout.model_folder(run, seed) / "manifest.json")
    yield from (f"results/pairs/{task}/{prompt}/{tokenizer}/manifest.json" for task, prompt, tokenizer in spec["pairs"])
    for corpus, tokenizer in spec["tokens"]:
        yield from _of_shards(f"results/tokens/{corpus}/{tokenizer}", spec["corpora"][corpus]["num_shards"])
    for tokenizer in spec["tokenizers"]:
        if tokenizer in spec["measured"]:
            yield str(layout.fertility(tokenizer))
        yield f"results/tokenizers/{tokenizer}/manifest.json"
    for corpus, described in spec["corpora"].items():
        folder = f"results/corpora/{corpus}"
        yield from (str(layout.corpus(corpus, name)) for name in ("stats", "overlap", "split/leaks", "split/manifest"))
        yield from _of_shards(f"{folder}/clean", described["num_shards"])
        yield str(layout.corpus(corpus, "duplicates"))
        if described["near"]:
            yield from _of_shards(f"{folder}/signatures", described["num_shards"])
        yield from _of_shards(f"{folder}/shards", described["num_shards"])
        yield from (str(layout.corpus(corpus, name)) for name in ("sharded", "raw"))


def _of_shards(folder: str, num_shards: int) -> Iterator[str]:
    yield from (f"{folder}/{layout.shard_name(shard)}.json" for shard in range(num_shards))
