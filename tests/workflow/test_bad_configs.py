"""A mistake stops before any job starts: through the real Snakemake, from the file that the user wrote."""

import pytest

from on_workstation import snakemake
from tiny_experiment import TINY, prepare


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("steps: 60", "steps: -60", "recipes.scratch.steps: Input should be greater than 0 (found -60)"),
        ("steps: 60", "steps: 012", "recipes.scratch.steps: wants a number in decimal digits"),
        ("num_shards: 2", "num_shards: 0x2", "(found '0x2'), line 18"),
        ("compute: {", "compute: {needs: {t5-base: {hours: 12:30}}, ", "hours: wants a number of hours, without ':'"),
        ("recipe: tune,", "recipe: tnue,", "there is no recipe named 'tnue'; choose from: scratch, tune"),
        ("kind: rwkv4", "kind: rwkv5", "architectures.rwkv.kind: 'rwkv5' is not known; choose from: rwkv4, rwkv7, t5"),
        ("corpora: {notes: 1.0}, character", "corpora: {wiki: 1.0}, character", "there is no corpus named 'wiki'"),
        ("num_shards: 2", "shards: 2", "corpora.notes.shards: unknown key"),
        ("  t5-base:", "  rwkv-base:", "the key 'rwkv-base' already stands on line"),
        ("compute: {", "compute: {inventory: no.yaml, ", "no.yaml: the inventory cannot be read (No such file"),
        ("reports:", "reports: [", "Config file is not valid JSON or YAML"),  # Snakemake, before us
    ],
)
def test_a_mistake_in_the_file_stops_the_dry_run(tmp_path, old, new, message):
    text = TINY.read_text(encoding="utf-8")
    assert old in text
    config = tmp_path / "mine.yaml"
    config.write_text(text.replace(old, new, 1), encoding="utf-8")
    done = snakemake(tmp_path, "-n", config=config, check=False)
    assert done.returncode != 0
    assert message in done.stdout
    assert "Traceback" not in done.stdout
    assert not (tmp_path / "results").exists()


def test_an_empty_pattern_names_the_key(tmp_path):
    done = snakemake(tmp_path, "corpora", check=False)  # a folder without articles/
    assert done.returncode != 0
    assert "corpora.notes.files: 'articles/*.jsonl' matches no file" in done.stdout
    assert "Traceback (most recent call last)" not in done.stdout


def test_numbers_on_the_command_line_are_those_that_stand_there(tmp_path):
    prepare(tmp_path)
    done = snakemake(tmp_path, "models", "-n", "--config", "recipes={scratch: {steps: 012}}", check=False)
    assert done.returncode != 0
    assert "recipes.scratch.steps: wants a number in decimal digits" in done.stdout
    assert "(found '012'), in --config" in done.stdout
    snakemake(tmp_path, "models", "-n", "--config", "recipes={scratch: {steps: 70}}", "compute={inventory: null}")
