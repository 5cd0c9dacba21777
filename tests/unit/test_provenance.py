"""The walk from a result to the raw files finds every change, and only changes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tsumugi.provenance import identity, read_manifest, verify, write_manifest

SCRIPT = Path(__file__).parents[2] / "scripts" / "verify_provenance.py"


@pytest.fixture
def chain(tmp_path, monkeypatch):
    """raw -> shard (whose data is temporary) -> model and statistics -> report."""
    monkeypatch.chdir(tmp_path)

    def stage(name, kind, inputs=(), temporary=False, **more):
        data = Path(f"{name}.bin")
        data.write_text(f"data of {name}")
        files = {"temporary": [data]} if temporary else {"outputs": [data]}
        write_manifest(f"{name}.json", kind=kind, spec={"name": name}, inputs=inputs, **files, **more)

    stage("raw", "fetch_corpus")
    stage("shard", "normalize_shard", ["raw.json"], temporary=True)
    stage("model", "train_model", ["shard.json"], results={"train_seconds": 1.5})
    stage("stats", "summarize_corpus", ["shard.json"])
    stage("report", "build_report", ["model.json", "stats.json"])
    return tmp_path


def test_an_unchanged_chain_is_proved_to_the_raw_files(chain):
    assert verify("report.json") == (["report.json", "model.json", "shard.json", "raw.json", "stats.json"], [])


@pytest.mark.parametrize("name", ["raw", "shard", "model", "stats", "report"])
def test_one_changed_byte_is_found_in_every_file(chain, name):
    data = bytearray(Path(f"{name}.bin").read_bytes())
    data[3] ^= 1
    Path(f"{name}.bin").write_bytes(data)
    _, problems = verify("report.json")
    assert len(problems) == 1 and problems[0].startswith(f"{name}.bin: changed since {name}.json was written")


def test_a_removed_file_is_found_unless_it_is_temporary(chain):
    Path("shard.bin").unlink()
    assert verify("report.json")[1] == []
    Path("raw.bin").unlink()
    assert verify("report.json")[1] == [
        "raw.bin: missing, though raw.json names it; re-run the rule fetch_corpus",
    ]


def test_a_removed_manifest_is_reported_once_and_with_its_consumer(chain):
    Path("shard.json").unlink()
    _, problems = verify("report.json")
    assert len(problems) == 1 and "shard.json" in problems[0] and "model.json was made from it" in problems[0]


def test_a_manifest_edited_by_hand_is_found_by_each_consumer(chain):
    manifest = json.loads(Path("shard.json").read_text())
    manifest["spec"]["name"] = "other"
    Path("shard.json").write_text(json.dumps(manifest))
    _, problems = verify("report.json")
    assert [problem.split(";")[0] for problem in problems] == [
        "shard.json: is not the manifest that model.json was made from",
        "shard.json: is not the manifest that stats.json was made from",
    ]


def test_a_figure_edited_by_hand_is_found_where_it_was_copied(chain):
    from tsumugi.provenance import file_sha256

    write_manifest(
        "report.json",
        kind="build_report",
        spec={},
        inputs=["model.json"],
        results={"figures_from": {"model.json": file_sha256("model.json")}},
    )
    manifest = json.loads(Path("model.json").read_text())
    before = identity(manifest)
    manifest["results"]["train_seconds"] = 0.1
    Path("model.json").write_text(json.dumps(manifest))
    assert identity(read_manifest("model.json")) == before  # the identity does not cover figures
    _, problems = verify("report.json")
    assert problems == ["model.json: changed since its figures went into report.json; re-run the rule build_report"]


def test_a_chain_longer_than_the_call_stack(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    length = sys.getrecursionlimit() + 50
    previous: dict = {}
    for i in range(length):
        manifest = {"kind": "step", "spec": {"i": i}, "inputs": previous, "outputs": {}}
        Path(f"{i}.json").write_text(json.dumps(manifest))
        previous = {f"{i}.json": identity(manifest)}
    visited, problems = verify(f"{length - 1}.json")
    assert len(visited) == length and problems == []


def test_the_command_prints_what_it_visited_and_fails_on_a_change(chain):
    def run():
        return subprocess.run([sys.executable, SCRIPT, "report.json"], capture_output=True, text=True, check=False)

    good = run()
    assert good.returncode == 0 and "raw.json" in good.stdout and "5 manifests checked" in good.stdout
    Path("raw.bin").write_text("something else")
    bad = run()
    assert bad.returncode == 1 and "raw.bin: changed" in bad.stderr and "Traceback" not in bad.stderr
