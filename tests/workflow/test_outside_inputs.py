"""What the user brings: a model from outside and raw files; changed, missing, or with nothing to report on them."""

import json
import shutil

import pytest
import yaml

from on_workstation import planned, snakemake
from tiny_experiment import TINY, prepare


def test_changed_weights_of_an_outside_model_train_again(copy):
    assert planned(copy) == {}
    weights = copy / "my-model/model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    jobs = planned(copy)
    assert (jobs["import_tokenizer"], jobs["train_model"], jobs["generate_text"]) == (1, 1, 1)


def test_a_missing_model_or_raw_file_names_its_key_before_anything_runs(tmp_path):
    done = snakemake(tmp_path, "-n", check=False)
    assert done.returncode != 0
    assert "Traceback (most recent call last)" not in done.stdout
    assert any(
        message in done.stdout
        for message in (
            "runs.my-write.init_from: ./my-model: there is no such directory",
            "corpora.notes.files: 'articles/*.jsonl' matches no file",
        )
    )
    done = snakemake(tmp_path, "-n", "results/tokenizers/from-my-write/manifest.json", check=False)
    assert "runs.my-write.init_from: ./my-model: there is no such directory" in done.stdout
    done = snakemake(tmp_path, "-n", "corpora", check=False)
    assert "corpora.notes.files: 'articles/*.jsonl' matches no file" in done.stdout


def test_a_raw_file_that_is_misspelled_after_a_good_run_is_named(copy):
    config = yaml.safe_load(TINY.read_text(encoding="utf-8"))
    config["corpora"]["notes"]["files"] = ["artikles/*.jsonl"]
    (copy / "mine.yaml").write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")
    done = snakemake(copy, "-n", config=copy / "mine.yaml", check=False)
    assert done.returncode != 0 and "corpora.notes.files: 'artikles/*.jsonl' matches no file" in done.stdout


def test_a_configuration_in_json_may_be_indented_with_tabs_and_name_files_as_they_are(tmp_path):
    prepare(tmp_path)
    shutil.move(tmp_path / "articles", tmp_path / "a b [2020]")
    config = yaml.safe_load(TINY.read_text(encoding="utf-8"))
    config["corpora"]["notes"]["files"] = ["a b [2020]/*.jsonl"]
    mine = tmp_path / "mine.json"
    mine.write_text(json.dumps(config, ensure_ascii=False, indent="\t"), encoding="utf-8")
    assert planned(tmp_path, "corpora", config=mine)["fetch_corpus"] == 1
    (tmp_path / "a b [2020]/{x}.jsonl").touch()
    done = snakemake(tmp_path, "-n", "corpora", config=mine, check=False)
    assert "a b [2020]/{x}.jsonl has braces, which stand for a wildcard" in done.stdout
    text = mine.read_text(encoding="utf-8")
    mine.write_text(text.replace('\t"corpora"', '\t"runs": {},\n\t"corpora"', 1), encoding="utf-8")
    done = snakemake(tmp_path, "-n", config=mine, check=False)
    assert done.returncode != 0 and "the key 'runs' appears 2 times in one object" in done.stdout


@pytest.mark.parametrize("tasks", [True, False])
def test_without_a_report_everything_else_is_made(tmp_path, tasks):
    prepare(tmp_path)
    config = yaml.safe_load(TINY.read_text(encoding="utf-8"))
    del config["reports"]
    if not tasks:
        del config["tasks"]
        config["runs"] = {name: run for name, run in config["runs"].items() if name.endswith("-base")}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")
    jobs = planned(tmp_path, config=tmp_path / "mine.yaml")
    assert jobs["train_model"] == len(config["runs"])
    assert jobs["measure_tokenizer"] == jobs["summarize_corpus"] == 1
    assert ("score_quality" in jobs) == tasks
