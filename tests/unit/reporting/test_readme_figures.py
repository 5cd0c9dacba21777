"""The README's figures are those that a run has made; a script puts them there."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from reporting_results import experiment, write_results
from tsumugi.errors import TsumugiError
from tsumugi.reporting.comparison import comparison_table
from tsumugi.reporting.data import load_report
from tsumugi.reporting.readme import BEGIN, END, as_markdown, gather_figures, with_figures

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "scripts/write_readme_figures.py"


@pytest.fixture
def spec(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write_results(experiment())


def test_the_readme_holds_the_figures_that_lie_beside_it():
    figures = json.loads((ROOT / "README.figures.json").read_text(encoding="utf-8"))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert with_figures(readme, figures) == readme, (
        "run: python scripts/write_readme_figures.py --keep --figures README.figures.json --readme README.md"
    )


def test_the_picture_in_the_docs_is_of_the_run_that_made_the_figures():
    figures = json.loads((ROOT / "README.figures.json").read_text(encoding="utf-8"))
    picture = (ROOT / "docs/pictures/report.svg").read_bytes()
    assert hashlib.sha256(picture).hexdigest() == figures["picture_sha256"]


def test_the_figures_are_those_of_the_report(spec):
    figures = gather_figures(spec)
    rows = {row["run"]: row for row in comparison_table(load_report(spec, "compare")).rows}
    for model, run in zip(figures["models"], ("rwkv-title", "t5-title"), strict=True):
        for key in ("bits_per_byte", "title_gain", "chrf"):
            assert model[key][0] == rows[run][key].value
    assert [model["name"] for model in figures["models"]] == ["RWKV-4", "T5"]
    assert [model["trained"] for model in figures["models"]] == ["LoRA", "all weights"]
    assert [model["tokens_read"] for model in figures["models"]] == [200_000, 200_000], "pretraining and fine-tuning"
    assert figures["trigram"]["tokens_counted"] == 250_000
    assert (figures["documents"], figures["test_documents"], figures["seeds"]) == (1200, 60, [42])
    assert figures["run"]["commit"] and figures["run"]["date"]
    text = as_markdown(figures)
    assert "It has counted 0.25 M training tokens" in text
    assert "RWKV-4 0.20 M, T5 0.20 M" in text
    assert figures["run"]["commit"][:7] in text and figures["run"]["date"] in text


def test_the_report_tells_what_the_trigram_has_counted_and_the_models_have_read(spec):
    notes = " ".join(comparison_table(load_report(spec, "compare")).notes)
    assert "The n-grams (ja-8k) have counted 250,000 training tokens, each once." in notes
    assert "the models have read: rwkv-title 200,000, t5-title 200,000 tokens" in notes


def test_the_script_writes_between_the_marks_and_nowhere_else(spec, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"# Before\n\n{BEGIN}\nold 1.170\n{END}\n\nafter 1.170\n", encoding="utf-8")
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    (plot,) = (Path("results/report") / f"{report}.intervals.svg" for report in spec["reports"])
    plot.parent.mkdir(exist_ok=True)
    plot.write_text("<svg/>")
    line = [sys.executable, SCRIPT, "--spec", "spec.json", "--figures", "figures.json", "--readme", "README.md"]
    done = subprocess.run([*line, "--picture", "report.svg"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "report.svg").read_text() == "<svg/>"
    text = readme.read_text(encoding="utf-8")
    assert text.startswith(f"# Before\n\n{BEGIN}\n\nThe run of ")
    assert text.endswith(f"\n\n{END}\n\nafter 1.170\n")
    assert "old" not in text
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["picture_sha256"] == hashlib.sha256(b"<svg/>").hexdigest()
    assert with_figures(text, figures) == text, "a second time changes nothing"
    figures["models"][0]["bits_per_byte"][0] += 0.01
    assert with_figures(text, figures) != text, "another figure is noticed"
    assert max(map(len, text.split(BEGIN)[1].splitlines())) <= 120


@pytest.mark.parametrize("text", ["", BEGIN, f"{END}\n{BEGIN}", f"{BEGIN}{END}{END}"])
def test_a_readme_without_the_marks_is_refused(spec, text):
    with pytest.raises(TsumugiError, match="needs these two lines"):
        with_figures(text, gather_figures(spec))


def test_runs_with_different_seeds_are_refused(spec):
    spec = json.loads(json.dumps(spec))
    spec["runs"]["rwkv-title"]["seeds"] = spec["runs"]["t5-title"]["seeds"] * 2
    with pytest.raises(TsumugiError, match=r"different ones \(rwkv-title: 42, 42; t5-title: 42\); make them alike"):
        gather_figures(spec)


def test_results_of_two_runs_are_refused(spec):
    path = Path("results/models/rwkv-title/seed42/manifest.json")
    shutil.copy(path, "kept.json")
    manifest = json.loads(path.read_text())
    manifest["execution"]["code"]["commit"] = "0" * 40
    path.write_text(json.dumps(manifest))
    with pytest.raises(TsumugiError, match=r"not made in one run: commit is 0{40} and [0-9a-f]{40}; remove results/"):
        gather_figures(spec)
    manifest["execution"] = json.loads(Path("kept.json").read_text())["execution"] | {
        "finished": "2020-01-01T00:00:00+00:00"
    }
    path.write_text(json.dumps(manifest))
    with pytest.raises(TsumugiError, match=r"nothing was made between 2020-01-01 00:00 and \d{4}-.*; remove results/"):
        gather_figures(spec)
    shutil.copy("kept.json", path)
    manifest = json.loads(path.read_text())
    manifest["execution"]["code"]["clean"] = False
    path.write_text(json.dumps(manifest))
    assert re.search(r"commit [0-9a-f]{7}, with changes;", as_markdown(gather_figures(spec)))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("figures.json", b"{", "figures.json: not the figures of a run"),
        ("figures.json", b"[]", "figures.json: not the figures of a run"),
        ("figures.json", b'{"run": {}}', "figures.json: not the figures of a run"),
        ("README.md", b"\xff", "README.md: not UTF-8"),
    ],
)
def test_damaged_files_are_named(tmp_path, name, content, message):
    shutil.copy(ROOT / "README.md", tmp_path)
    shutil.copy(ROOT / "README.figures.json", tmp_path / "figures.json")
    (tmp_path / name).write_bytes(content)
    line = [sys.executable, SCRIPT, "--keep", "--figures", "figures.json", "--readme", "README.md"]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert f"error: {message}" in done.stderr
