"""Every mistake that a user can make in config.yaml stops with the key and the choices."""

import copy
import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from pydantic import ValidationError

from tsumugi.config.experiment import Config
from tsumugi.config.loading import load_config
from tsumugi.config.specs import SPECS
from tsumugi.errors import TsumugiError
from tsumugi.schema.base import Section
from tsumugi.schema.yaml_file import YamlFile

ROOT = Path(__file__).parents[3]
EXPERIMENTS = [ROOT / "config.yaml", *sorted((ROOT / "experiments").glob("*.yaml"))]


@pytest.fixture
def raw():
    return yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.name)
def test_what_ships_is_valid_by_the_models_and_by_the_schema(path):
    raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    load_config(raw, path.name)
    jsonschema.validate(raw, json.loads((ROOT / "config.schema.json").read_text(encoding="utf-8")))


def test_the_schema_is_the_one_that_the_models_make():
    stored = json.loads((ROOT / "config.schema.json").read_text(encoding="utf-8"))
    assert stored == json.loads(json.dumps(Config.model_json_schema())), "run `make schema`"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("recipes.tune-t5.steps", -3, "recipes.tune-t5.steps: Input should be greater than 0 (found -3)"),
        ("recipes.tune-t5.steps", "many", "recipes.tune-t5.steps: wants a whole number, in digits (found 'many')"),
        ("recipes.tune-t5.warmup", 10**6, "warmup (1000000) must be less than steps"),
        ("recipes.tune-t5.optimizer", "sgd", "recipes.tune-t5.optimizer: Input should be 'adamw' (found 'sgd')"),
        ("runs.t5-title.recpe", "x", "runs.t5-title.recpe: unknown key"),
        ("runs.t5-title.recipe", "tun", "choose from: scratch-rwkv, scratch-t5, tune-rwkv, tune-t5"),
        ("runs.t5-title.init_from", "t5", "runs.t5-title.init_from: 't5' is no other run (choose from: rwkv-base"),
        ("runs.t5-title.task", "poem", "there is no task named 'poem'; choose from: title_to_article"),
        ("runs.t5-title.prompt", "p", "there is no prompt of task title_to_article named 'p'; choose from"),
        ("runs.t5-title.seeds", [1], "runs.t5-title.seeds: [1] are not among the seeds of t5-base, [42]"),
        ("runs.t5-title.objective", "guess", "runs.t5-title.objective.kind: 'guess' is not known; choose"),
        ("runs.t5-base.objective", "causal_lm", "runs.t5-base.objective: causal_lm needs a decoder-only model"),
        (
            "runs.rwkv-base.objective",
            "span_corruption",
            "span_corruption needs an encoder and a decoder, not rwkv4; use causal_lm or sft",
        ),
        ("runs.rwkv-base.init_from", "t5-base", "init_from brings its own architecture and tokenizer"),
        ("runs.rwkv-base.adapter", {"lora": {"r": 1, "alpha": 1}}, "an adapter needs a trained model to stand on"),
        ("runs.rwkv-base.corpora", {"wiki": 1.0}, "runs.rwkv-base.corpora: there is no corpus named 'wiki'"),
        ("architectures.t5-small-ja.kind", "t6", "architectures.t5-small-ja.kind: 't6' is not known; choose"),
        ("architectures.rwkv-small.n_layer", 0, "architectures.rwkv-small.n_layer: Input should be greater than 0"),
        ("tokenizers.ja-8k.corpora", {"nope": 1}, "tokenizers.ja-8k.corpora: there is no corpus named 'nope'"),
        ("tokenizers.ja-8k.vocab_size", 100, "tokenizers.ja-8k.vocab_size: Input should be greater than"),
        ("tokenizers.from-x", {"kind": "bpe", "vocab_size": 500, "corpora": {"debian-docs": 1}}, "begin with 'from-'"),
        ("corpora.debian-docs.reader", "web", "corpora.debian-docs.reader: 'web' is not known; choose"),
        ("corpora.debian-docs.filters", [{"name": "lenght"}], "filters.0.name: 'lenght' is not known; choose from"),
        ("corpora.debian-docs.split.ratios", [90, 10], "corpora.debian-docs.split.ratios.2: is missing"),
        (
            "corpora.debian-docs.packages",
            ["../x"],
            "corpora.debian-docs.packages.0: wants the name of a Debian package",
        ),
        ("corpora.a/b", {}, "corpora.a/b: wants a name of letters, digits, '-' and '_'"),
        ("corpora.notes", {}, "corpora.notes.reader: is missing"),
        ("tasks.title_to_article.prompts.plain", "no place", "prompts.plain must contain {input} exactly once"),
        ("reports.title-to-article.runs", ["t5-base"], "there is no run on task title_to_article named 't5-base'"),
        ("compute.micro_batches", {"x": 2}, "compute.micro_batches: there is no run named 'x'"),
        ("compute.needs", {"x": {}}, "compute.needs: there is no run named 'x'; choose from: rwkv-base"),
        ("compute.needs", {"t5-title": {"gpu": 1}}, "compute.needs.t5-title.gpu: unknown key"),
        ("compute.needs", {"t5-title": {"gpu_memory_gib": -1}}, "compute.needs.t5-title.gpu_memory_gib: Input should"),
        ("compute.needs", {"t5-title": {"precision": "auto"}}, "precision: Input should be 'fp32', 'fp16' or 'bf16'"),
        ("compute.needs", {"t5-title": {"kinds": ["a"], "nodes": {"a": 1}}}, "compute.needs.t5-title: nodes names its"),
        ("compute.needs", {"t5-title": {"nodes": {"a6000": 0}}}, "compute.needs.t5-title.nodes.a6000: Input should be"),
        (
            "compute.needs",
            {"t5-title": {"gpu_memory_gib": 0, "precision": "fp16"}},
            "compute.needs.t5-title: precision fp16 needs a GPU",
        ),
        ("compute.needs", {"t5-title": {"world_size": 10**6}}, "1000000 processes share out a batch of"),
        ("compute.processes", 0, "compute.processes: Input should be greater than 0 (found 0)"),
        ("compute.processes", "all", "compute.processes: Input should be 'auto' (found 'all')"),
        ("compute.zero_stage", 4, "compute.zero_stage: Input should be 'auto', 0, 1, 2 or 3 (found 4)"),
        ("compute.offload", "disk", "compute.offload: Input should be 'none' or 'cpu' (found 'disk')"),
        ("compute", {"offload": "cpu", "zero_stage": 0}, "compute: offload cpu needs zero_stage 1, 2, 3 or auto"),
        (
            "compute.gradient_checkpointing",
            "maybe",
            "compute.gradient_checkpointing: wants true or false (found 'maybe')",
        ),
        ("runs.rwkv-title.adapter", {"merge": True}, "runs.rwkv-title.adapter: needs exactly one of lora and peft"),
        (
            "runs.rwkv-title.adapter",
            {"lora": {"r": 1, "alpha": 1}, "peft": {"type": "IA3"}},
            "runs.rwkv-title.adapter: needs exactly one of lora and peft",
        ),
        ("runs.rwkv-title.adapter", {"peft": {"r": 1}}, "runs.rwkv-title.adapter.peft.type: is missing"),
        ("reciepes", {}, "reciepes: unknown key"),
    ],
)
def test_a_mistake_is_named_with_its_key(raw, path, value, message):
    *parents, last = path.split(".")
    section = raw
    for parent in parents:
        section = section[parent]
    section[last] = value
    with pytest.raises(TsumugiError) as error:
        load_config(raw, "mine.yaml")
    assert str(error.value).startswith("mine.yaml: ")
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("tasks.title_to_article.seed", -1, "tasks.title_to_article.seed: Input should be greater than or equal to 0"),
        ("tasks.title_to_article.decoding.seed", -1, "decoding.seed: Input should be greater than or equal to 0"),
        ("corpora.debian-docs.split.seed", -1, "corpora.debian-docs.split.seed: Input should be greater than or equal"),
        ("tokenizers.ja-8k.seed", -1, "tokenizers.ja-8k.seed: Input should be greater than or equal to 0"),
        ("recipes.tune-t5.betas", [0.9, 1.0], "recipes.tune-t5.betas.1: Input should be less than 1 (found 1.0)"),
        (
            "recipes.tune-t5.learning_rate",
            float("inf"),
            "recipes.tune-t5.learning_rate: Input should be a finite number",
        ),
        ("recipes.tune-t5.eps", float("nan"), "recipes.tune-t5.eps: Input should be a finite number"),
        (
            "runs.rwkv-base.corpora",
            {"debian-docs": float("inf")},
            "corpora.debian-docs: Input should be a finite number",
        ),
        ("recipes.tune-t5.steps", True, "recipes.tune-t5.steps: wants a number (found True)"),
        ("recipes.tune-t5.clip", True, "recipes.tune-t5.clip: wants a number (found True)"),
        ("recipes.tune-t5.betas", [True, 0.9], "recipes.tune-t5.betas.0: wants a number (found True)"),
        ("runs.t5-title.seeds", [True], "runs.t5-title.seeds.0: wants a number (found True)"),
        ("runs.t5-title.seeds", [42, 42], "runs.t5-title.seeds: stands twice: 42"),
        ("reports.title-to-article.runs", ["t5-title"] * 2, "reports.title-to-article.runs: stands twice: t5-title"),
        (
            "corpora.debian-docs.filters",
            [{"name": "length", "min_characters": 9, "max_characters": 8}],
            "corpora.debian-docs.filters.0: min_characters (9) is greater than max_characters (8)",
        ),
    ],
)
def test_values_that_no_job_could_use_are_refused(raw, path, value, message):
    test_a_mistake_is_named_with_its_key(raw, path, value, message)


def subclasses(base):
    """Every class that is made from ``base``."""
    for one in base.__subclasses__():
        yield one
        yield from subclasses(one)


def test_every_number_refuses_true():
    """Whatever number is added to the models: true is not 1."""

    def numbers(schema):
        options = [schema, *schema.get("anyOf", ())]
        return any(option.get("type") in {"integer", "number"} for option in options)

    schema = Config.model_json_schema()["$defs"]
    sections = {section.__name__: section for section in subclasses(Section)}
    checked = 0
    for name, section in schema.items():
        for key in (key for key, value in section.get("properties", {}).items() if numbers(value)):
            with pytest.raises(ValidationError) as error:
                sections[name].model_validate({key: True})
            assert ((key,), "Value error, wants a number") in [(e["loc"], e["msg"]) for e in error.value.errors()]
            checked += 1
    assert checked > 40


@pytest.mark.parametrize(("key", "part"), [("input", "title"), ("output", "category")])
def test_a_task_needs_the_columns_of_its_corpus(key, part):
    raw = yaml.safe_load((ROOT / "experiments/own_articles.yaml").read_text(encoding="utf-8"))
    raw["corpora"]["notes"]["columns"][part] = None
    raw["tasks"]["write"][key] = part
    with pytest.raises(
        TsumugiError, match=rf"tasks\.write\.{key}: '{part}' .* corpora\.notes\.columns\.{part} is null"
    ):
        load_config(raw)


@pytest.mark.parametrize(
    ("path", "value", "key"),
    [
        ("corpora.notes.columns.title", 5, "corpora.notes.columns.title: "),
        ("corpora.notes.filters.1.min_characters", -1, "corpora.notes.filters.1.min_characters: "),
        ("compute.micro_batches", {"t5": 0}, "compute.micro_batches.t5: "),
        (
            "runs.t5-base.objective",
            {"kind": "span_corruption", "noise_density": 2},
            "runs.t5-base.objective.noise_density: ",
        ),
        ("runs.rwkv-write.adapter.lora.target_modules", [5], "runs.rwkv-write.adapter.lora.target_modules.0: "),
        ("architectures.t5", {"kind": "t5"}, "architectures.t5.d_model: is missing"),
        ("corpora.local_files", {"reader": "local_files", "files": []}, "corpora.local_files.files: "),
    ],
)
def test_the_key_is_that_of_the_file(path, value, key):
    raw = yaml.safe_load((ROOT / "experiments/own_articles.yaml").read_text(encoding="utf-8"))
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    section = raw
    for parent in parents:
        section = section[parent]
    section[last] = value
    with pytest.raises(TsumugiError) as error:
        load_config(raw)
    assert f"\n  {key}" in str(error.value)


def test_yaml_that_looks_like_a_key_standing_twice_is_accepted(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("late:\n  deep:\n    c: &c {<<: &a {x: 1}, x: 2}\nb: {<<: *c, x: 3}\nd:\n  <<: *a\n  <<: *c\n")
    assert YamlFile(path).content == yaml.safe_load(path.read_text())
    path.write_text("late: 1\n? [1, 2]\n: 4\n")
    with pytest.raises(TsumugiError, match=r"line 2: a list or mapping stands where a key should"):
        YamlFile(path)
    path.write_text("a: &a {x: 1}\nb:\n  <<: *a\n  y: 1\n  'y': 2\nc: {z: 1, z: 2}\n")
    with pytest.raises(TsumugiError, match=r"line [56]: the key '[yz]' already stands on line"):
        YamlFile(path)


def test_runs_in_a_circle_are_found(raw):
    raw["runs"]["rwkv-title"]["init_from"] = "t5-title"
    raw["runs"]["t5-title"]["init_from"] = "rwkv-title"
    with pytest.raises(TsumugiError, match="in a circle: rwkv-title -> t5-title -> rwkv-title"):
        load_config(raw)


def test_a_key_that_stands_twice_is_refused(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("recipes:\n  a: {steps: 1}\n  b: {steps: 2}\n  a: {steps: 3}\n", encoding="utf-8")
    with pytest.raises(TsumugiError, match=r"mine.yaml, line 4: the key 'a' already stands on line 2"):
        YamlFile(path)


def test_all_mistakes_are_told_at_once(raw):
    raw["recipes"]["tune-t5"]["steps"] = 0
    raw["architectures"]["rwkv-small"]["n_embd"] = "wide"
    with pytest.raises(TsumugiError, match="2 mistake"):
        load_config(raw)


def test_a_run_in_fp16_needs_a_gpu(raw):
    raw["recipes"]["tune-t5"]["precision"] = "fp16"
    raw["compute"]["needs"] = {"t5-title": {"gpu_memory_gib": 0}}
    with pytest.raises(
        TsumugiError, match=r"needs\.t5-title\.gpu_memory_gib: 0 wants no GPU, and recipes\.tune-t5\.pre"
    ):
        load_config(raw)


def test_a_method_of_peft_keeps_its_settings(raw):
    adapter = {"peft": {"type": "IA3", "target_modules": ["key"], "init_ia3_weights": True}}
    raw["runs"]["rwkv-title"]["adapter"] = adapter
    spec = SPECS["train_model"](load_config(raw), "rwkv-title")
    assert spec["adapter"] == {"lora": None, "merge": False} | adapter


def test_a_tilde_in_a_path_is_the_home_folder(raw, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    raw["compute"] = {"inventory": "~/nodes.yaml", "calibration": "~/measured"}
    raw["runs"]["t5-title"]["init_from"] = "~/my-model"
    raw["corpora"]["saved"] = {"reader": "hf_dataset", "folder": "~/saved"}
    config = Config.model_validate(raw)
    assert (config.compute.inventory, config.compute.calibration) == ("/home/me/nodes.yaml", "/home/me/measured")
    assert config.runs["t5-title"].init_from == "/home/me/my-model"
    assert config.corpora["saved"].folder == "/home/me/saved"


def test_specs_hold_what_decides_and_nothing_of_compute(raw):
    config = load_config(raw)
    other = copy.deepcopy(raw)
    other["compute"] = {"threads": 1, "micro_batch": 1, "checkpoint_seconds": 1, "processes": 3, "zero_stage": 2}
    other["compute"] |= {"offload": "cpu", "gradient_checkpointing": True, "inventory": "a.yaml", "calibration": "b"}
    other["compute"] |= {"needs": {"t5-title": {"world_size": 2, "precision": "bf16"}}}
    changed = load_config(other)
    names = {"train_tokenizer": "ja-8k", "encode_pairs": "title_to_article.plain", "train_model": "t5-title"}
    names |= dict.fromkeys(("generate_text", "score_likelihood", "score_quality", "score_ngrams"), "title_to_article")
    for stage, function in SPECS.items():
        if stage != "import_tokenizer":
            name = names.get(stage, "debian-docs")
            spec = function(config, name)
            assert spec == function(changed, name)
            json.dumps(spec)


def test_repeated_answers_of_an_instruction_set_stay_unless_they_are_to_go(raw):
    section = {"reader": "instructions", "files": ["alpaca.json"]}
    raw["corpora"] |= {"alpaca": section, "unique": section | {"dedup": {"exact": True}}}
    corpora = load_config(raw, "mine.yaml").corpora
    assert (corpora["alpaca"].dedup.exact, corpora["unique"].dedup.exact) == (False, True)
