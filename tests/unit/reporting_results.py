"""A results folder as the other stages leave it, with invented figures: what the report's tests read."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from tsumugi import layout
from tsumugi.atomic import write_text
from tsumugi.config.loading import load_config
from tsumugi.config.report_spec import report_spec
from tsumugi.evaluation import ngrams, score_likelihood, score_ngrams, score_quality
from tsumugi.generation.records import write_records
from tsumugi.provenance import write_manifest

DOCUMENTS = 60
FAMILY = 7  # test documents that share text
TITLES = ("日本語の<b>題名</b>", "設定を変更する", "strlen", "<script>alert(1)</script>", "文書を印刷する")
CENTRES = {  # about what a run of the tests has; every other measure of the evaluation is about 0.5
    "chrf": 8.0,
    "rouge_l": 0.15,
    "title_uptake": 0.2,
    "title_uptake_reference": 0.7,
    "distinct_2": 0.6,
    "distinct_2_reference": 0.7,
    "repeated_8grams": 0.3,
    "repeated_8grams_reference": 0.05,
    "length_ratio": 0.8,
}
REFERENCE = "この関数は文字列の長さを数えます。終わりの印は数えません。\n\n戻り値は長さです。"


def experiment(runs=("rwkv-title", "t5-title"), seeds=(42,), reports=("compare",), adapter=True):
    """A configuration: each run fine-tunes a base of its own."""
    base = {
        "rwkv-title": ("rwkv", "causal_lm"),
        "t5-title": ("t5", "span_corruption"),
        "third": ("rwkv", "causal_lm"),
    }
    recipe = {"learning_rate": 1e-3, "global_batch": 8, "steps": 100, "warmup": 5}
    raw = {
        "corpora": {"docs": {"reader": "local_files", "files": ["docs.jsonl"], "format": "jsonl"}},
        "tokenizers": {"ja-8k": {"kind": "unigram", "vocab_size": 8000, "corpora": {"docs": 1.0}}},
        "architectures": {
            "rwkv": {"kind": "rwkv4", "n_layer": 4, "n_embd": 192},
            "t5": {"kind": "t5", "d_model": 192, "d_ff": 512, "num_layers": 2, "num_decoder_layers": 2, "num_heads": 3},
        },
        "recipes": {"scratch": recipe, "tune": recipe | {"learning_rate": 3e-4, "schedule": "linear"}},
        "tasks": {
            "title_to_article": {
                "corpus": "docs",
                "input": "title",
                "output": "text",
                "bootstrap_samples": 300,
                "prompts": {"plain": "{input}\n", "instruction": "題名から本文を書いてください。\n{input}\n本文:\n"},
            }
        },
        "runs": {},
        "reports": {name: {"runs": list(runs), "task": "title_to_article", "samples": 4} for name in reports},
    }
    for run in runs:
        architecture, objective = base[run]
        common = {"seeds": list(seeds)}
        raw["runs"][f"{run}-base"] = common | {
            "architecture": architecture,
            "tokenizer": "ja-8k",
            "objective": objective,
            "corpora": {"docs": 1.0},
            "recipe": "scratch",
        }
        raw["runs"][run] = common | {
            "init_from": f"{run}-base",
            "objective": "sft",
            "task": "title_to_article",
            "prompt": "instruction" if architecture == "rwkv" else "plain",
            "recipe": "tune",
        }
        if adapter and architecture == "rwkv":
            raw["runs"][run]["adapter"] = {"lora": {"r": 32, "alpha": 32, "dropout": 0.1}}
    return load_config(raw)


def write_results(config, gain=0.02, ngram_bits=1.2):
    """Write everything that ``report_spec(config)`` names, below the working folder; return the spec."""
    spec = report_spec(config)
    generator = np.random.default_rng(0)
    raw = Path("data/docs/docs.jsonl")
    write_text(raw, "".join(f'{{"text": "{i}"}}\n' for i in range(100)))
    described = {"file": str(raw), "name": "docs.jsonl", "version": "1", "licence": "CC0-1.0", "bytes": 1}
    for name in spec["corpora"]:
        _write_corpus(name, raw, described)
    clean = [f"results/corpora/docs/clean/{shard:05d}.json" for shard in range(2)]
    for name in spec["tokenizers"]:
        folder = Path("results/tokenizers") / name
        write_text(folder / "tokenizer.json", "{}")
        write_manifest(
            folder / "manifest.json", kind="train_tokenizer", spec={}, inputs=clean, outputs=[folder / "tokenizer.json"]
        )
        figures = {"documents": 60, "characters": 40_000, "tokens": 18_000, "tokens_per_character": 0.45}
        write_manifest(
            layout.fertility(name),
            kind="measure_tokenizer",
            spec={},
            inputs=[folder / "manifest.json", *clean],
            results={"corpora": {"docs": figures | {"unknown_share": 0.0, "byte_share": 0.012}}},
        )
    for report in spec["reports"].values():
        _write_baselines(spec, report, clean, ngram_bits)
        for position, run in enumerate(report["runs"]):
            for seed in spec["runs"][run]["seeds"]:
                _write_run(spec, run, seed, report["task"], position, gain, generator, clean)
    return spec


def _write_corpus(name, raw, described):
    def corpus(what):
        return layout.corpus(name, what)

    write_manifest(corpus("raw"), kind="fetch_corpus", spec={}, outputs=[raw], results={"files": [described]})
    shards = []
    for shard in range(2):
        path = corpus(f"shards/{shard:05d}")
        write_text(path.with_suffix(".parquet"), "rows")
        write_manifest(
            path, kind="normalize_shard", spec={}, inputs=[corpus("raw")], outputs=[path.with_suffix(".parquet")]
        )
        shards.append(path)
    write_manifest(corpus("duplicates"), kind="find_duplicates", spec={}, inputs=shards)
    clean = []
    for shard in range(2):
        path = corpus(f"clean/{shard:05d}")
        write_text(path.with_suffix(".parquet"), "rows")
        write_manifest(
            path,
            kind="clean_shard",
            spec={},
            inputs=[shards[shard], corpus("duplicates")],
            temporary=[path.with_suffix(".parquet")],
        )
        clean.append(path)
    step = {"documents": 1200, "characters": 900_000, "bytes": 2_500_000}
    figures = {
        "steps": [{"step": "read", **step}, {"step": "normalized", **step}, {"step": "clean", **step}],
        "dropped": {"length": 12, "duplicate": 31},
        "samples": [{"name": "length 1", "why": "3 characters, fewer than 10", "begins": "短い <b>文"}],
        "categories": {"manpages": 700, "説明書": 500},
        "split": {"documents": {"train": 1080, "dev": 60, "test": 60}, "families": 1150},
        "leaks": {"documents": {"train": 3, "dev": 0}, "like_test_documents_of": {name: 3}},
        "lengths": {"edges": [0, 100, 1000, 10000], "documents": [10, 600, 580, 10]},
        "files": [described],
    }
    split = corpus("split/manifest")
    families = ["shared"] * FAMILY + _ids()[FAMILY:]
    split.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame({"id": _ids(), "family": families}).to_parquet(split.with_name("test.parquet"))
    write_manifest(split, kind="split_corpus", spec={}, inputs=clean, outputs=[split.with_name("test.parquet")])
    write_manifest(corpus("stats"), kind="summarize_corpus", spec={}, inputs=clean, results=figures)
    write_manifest(
        corpus("overlap"), kind="measure_overlap", spec={}, inputs=clean, results={"window": 30, "share": 0.153}
    )


def _ids():
    return [f"{i:016x}" for i in range(DOCUMENTS)]


def _write_baselines(spec, report, clean, bits):
    for tokenizer in report["baselines"]:
        path = layout.baseline(report["task"], tokenizer)
        size = np.arange(DOCUMENTS) * 3 + 500
        frame = pd.DataFrame({"id": _ids(), "category": "manpages", "bytes": size, "tokens": 100})
        for order, worse in zip(ngrams.ORDERS, (0.6, 0.1, 0.0), strict=True):
            frame[f"bits_{order}"] = size * (bits + worse)
        counted = {"train_tokens_counted": 250_000, "train_tokens_available": 250_000, "train_tokens_capped": False}
        _write_scores(path, frame[list(score_ngrams.COLUMNS)], "score_ngrams", clean, counted)


def _write_scores(path, frame, kind, made_from, results=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.to_parquet(path.with_suffix(".parquet"))
    rows = path.with_suffix(".parquet")
    write_manifest(path, kind=kind, spec={"seed": 0}, inputs=made_from, outputs=[rows], results=results)


def _write_run(spec, run, seed, task, position, gain, generator, clean):
    chain = layout.run_chain(spec, run)
    previous = [Path("results/tokenizers") / spec["tokenizers"][0] / "manifest.json", *clean]
    for depth, stage in reversed(list(enumerate(chain))):
        previous = [_write_model(stage, seed, depth, position, previous, spec)]
    generations = layout.generations(run, seed, task)
    write_records(generations, (_record(run, i, position) for i in range(DOCUMENTS)))
    seconds = 12.5 * (position + 1)
    write_manifest(
        generations.with_suffix(".json"),
        kind="generate_text",
        spec={"decoding": {"do_sample": False}},
        inputs=[*previous, *clean],
        outputs=[generations],
        results={"documents": DOCUMENTS, "seconds": seconds, "tokens": 6000, "tokens_per_second": 6000 / seconds},
        execution={"device": "cpu", "threads": 2, "micro_batch": 16, "peak_memory_growth_bytes": 90_000_000},
    )
    size = np.arange(DOCUMENTS) * 3 + 500
    own = size * (1.25 + 0.1 * position) + generator.normal(0, 30, DOCUMENTS)
    same = own + size * gain / 10 + generator.normal(0, 3, DOCUMENTS)
    same[:2] = np.nan
    frame = pd.DataFrame({"id": _ids(), "category": "manpages", "bytes": size, "tokens": 100, "bits_own": own})
    frame["bits_other"] = own + size * gain + generator.normal(0, 3, DOCUMENTS)
    frame["bits_same_category"] = same
    frame = frame[list(score_likelihood.COLUMNS)]
    _write_scores(layout.score(run, seed, task, "likelihood"), frame, "score_likelihood", previous)
    frame = pd.DataFrame({"id": _ids(), "category": "manpages"})
    for column in score_quality.METRICS:  # the names that the evaluation really writes
        centre = CENTRES.get(column, 0.5)
        frame[column] = np.abs(generator.normal(centre, centre / 5, DOCUMENTS))
    frame["empty"] = [float(not _record(run, i, position)["output"]) for i in range(DOCUMENTS)]
    frame.loc[3, "title_uptake"] = np.nan
    _write_scores(layout.score(run, seed, task, "quality"), frame, "score_quality", [generations.with_suffix(".json")])


def _write_model(run, seed, depth, position, made_from, spec):
    folder = layout.model_folder(run, seed)
    steps = range(0, 101, 10)
    falling = [{"step": s, "tokens": s * 1000, "seconds": s * 0.5, "train_loss": 6 - s / 40 + position} for s in steps]
    for line in falling[::2]:
        line["dev_loss"] = line["train_loss"] + 0.1
    write_text(folder / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in falling))
    write_text(folder / "model.safetensors", f"weights of {run} {seed}")
    write_manifest(
        folder / "manifest.json",
        kind="train_model",
        spec={"seed": seed, "objective": spec["runs"][run]["objective"]},
        inputs=made_from,
        outputs=[folder / "model.safetensors"],
        records=[folder / "metrics.jsonl"],
        results={
            "parameters": 1_930_000 + position * 140_000,
            "trainable_parameters": 120_000 if depth == 0 and position == 0 else 1_930_000 + position * 140_000,
            "tokens_seen": 100_000,
            **({"tokens_predicted": 80_000} if position == 0 else {}),  # older results have none
            "train_seconds": 50.0 + 190 * depth,
        },
        execution={
            "device": "cpu",
            "threads": 2,
            "precision": ("bf16", "fp32")[position % 2],
            "micro_batch": 8,
            "peak_memory_growth_bytes": 300_000_000,
            "peak_device_memory_bytes": None,
        },
    )
    return folder / "manifest.json"


def _record(run, index, position):
    output = "" if index % 20 == 7 else f"{run} の文章。{'ファイルを開きます。' * (index % 9 + 1)}"
    return {
        "id": _ids()[index],
        "title": TITLES[index % len(TITLES)],
        "category": "manpages" if index % 2 else "説明書 & <i>",
        "input": "",
        "reference": REFERENCE * (index % 5 + 1),
        "target_characters": 200,
        "output": output + ("</div><img src=x onerror=alert(2)>" if index % 11 == 0 and output else ""),
        "tokens": 60 + position,
        "seconds": 0.1,
    }
