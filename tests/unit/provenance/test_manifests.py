"""The walk from a result to the raw files finds every change, and only changes."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tsumugi.atomic import atomic_directory, atomic_path
from tsumugi.config.loading import load_config
from tsumugi.config.specs import SPECS
from tsumugi.errors import TsumugiError
from tsumugi.provenance import identity, read_manifest, verify, write_manifest
from tsumugi.provenance.gather_shards import gather, named
from tsumugi.provenance.results import result_manifests
from tsumugi.schema.yaml_file import YamlFile

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "scripts" / "verify_provenance.py"


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
    visited = ["report.json", "model.json", "shard.json", "raw.json", "stats.json"]
    assert verify("report.json") == (visited, [], 5, 0)


@pytest.mark.parametrize("name", ["raw", "shard", "model", "stats", "report"])
def test_one_changed_byte_is_found_in_every_file(chain, name):
    data = bytearray(Path(f"{name}.bin").read_bytes())
    data[3] ^= 1
    Path(f"{name}.bin").write_bytes(data)
    problems = verify("report.json").problems
    assert len(problems) == 1 and problems[0].startswith(f"{name}.bin: changed since {name}.json was written")


def test_a_removed_file_is_found_unless_it_is_temporary(chain):
    Path("shard.bin").unlink()
    assert verify("report.json").problems == []
    assert (verify("report.json").files, verify("report.json").removed) == (4, 1)
    Path("raw.bin").unlink()
    assert verify("report.json").problems == [
        "raw.bin: missing, though raw.json names it; re-run the rule fetch_corpus",
    ]


def test_a_removed_manifest_is_reported_once_and_with_its_consumer(chain):
    Path("shard.json").unlink()
    problems = verify("report.json").problems
    assert len(problems) == 1 and "shard.json" in problems[0] and "model.json was made from it" in problems[0]


def test_a_manifest_edited_by_hand_is_found_by_each_consumer(chain):
    manifest = json.loads(Path("shard.json").read_text())
    manifest["spec"]["name"] = "other"
    Path("shard.json").write_text(json.dumps(manifest))
    problems = verify("report.json").problems
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
    problems = verify("report.json").problems
    assert problems == ["model.json: changed since its figures went into report.json; re-run the rule build_report"]


def test_a_chain_longer_than_the_call_stack(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    length = sys.getrecursionlimit() + 50
    previous: dict = {}
    for i in range(length):
        manifest = {"kind": "step", "spec": {"i": i}, "inputs": previous, "outputs": {}}
        Path(f"{i}.json").write_text(json.dumps(manifest))
        previous = {f"{i}.json": identity(manifest)}
    found = verify(f"{length - 1}.json")
    assert len(found.visited) == length and found.problems == []


def test_a_commit_made_while_the_job_runs_is_not_recorded(tmp_path):
    library = ROOT / "src/tsumugi"
    shutil.copytree(library / "provenance", tmp_path / "tsumugi/provenance")
    for name in ("__init__.py", "atomic.py", "errors.py"):
        shutil.copy(library / name, tmp_path / "tsumugi" / name)

    def git(*arguments):
        names = {f"GIT_{who}_{what}": "t@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        line = ["git", "-C", tmp_path, *arguments]
        return subprocess.run(line, check=True, capture_output=True, text=True, env=os.environ | names).stdout.strip()

    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "--message", "first")
    first = git("rev-parse", "HEAD")
    job = (
        "import sys, tsumugi.provenance as p; print(flush=True); input(); p.write_manifest('m.json', kind='x', spec={})"
    )
    running = subprocess.Popen(
        [sys.executable, "-c", job], cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    running.stdout.readline()
    git("commit", "--quiet", "--allow-empty", "--message", "second")
    running.communicate("\n")
    assert read_manifest(tmp_path / "m.json")["execution"]["code"]["commit"] == first != git("rev-parse", "HEAD")


def test_every_file_of_a_folder_reaches_the_disk_before_its_name(tmp_path, monkeypatch):
    flushed, fsync = {False: set(), True: set()}, os.fsync

    def recording(descriptor):
        flushed[(tmp_path / "state").exists()].add(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", recording)
    with atomic_directory(tmp_path / "state") as folder:
        (folder / "deeper").mkdir()
        for name in ("weights", "deeper/progress.json"):
            (folder / name).write_text(name)
    written = (".", "weights", "deeper", "deeper/progress.json")
    assert flushed[False] == {(tmp_path / "state" / name).stat().st_ino for name in written}
    assert flushed[True] == {tmp_path.stat().st_ino}, "and then the name"


def test_the_command_prints_what_it_visited_and_fails_on_a_change(chain):
    def run():
        return subprocess.run([sys.executable, SCRIPT, "report.json"], capture_output=True, text=True, check=False)

    good = run()
    assert good.returncode == 0 and "raw.json" in good.stdout and "5 manifests checked, 5 files" in good.stdout
    Path("raw.bin").write_text("something else")
    bad = run()
    assert bad.returncode == 1 and "raw.bin: changed" in bad.stderr and "Traceback" not in bad.stderr


@pytest.mark.parametrize(
    ("replace", "said"),
    [
        (lambda path: path.mkdir(), r"raw\.bin: cannot be read \(Is a directory\), though raw\.json names it"),
        (lambda path: path.symlink_to("raw.bin"), r"raw\.bin: cannot be read \(Too many levels of symbolic links\)"),
        (lambda path: path.symlink_to("report.bin/raw.bin"), r"raw\.bin: missing, though raw\.json names it"),
    ],
)
def test_what_stands_in_a_files_place_is_a_problem_like_others(chain, replace, said):
    Path("raw.bin").unlink()
    replace(Path("raw.bin"))
    problems = verify("report.json").problems
    assert len(problems) == 1 and re.match(said, problems[0])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"inputs": []}, "inputs is no object"),
        ({"outputs": None}, "outputs is no object"),
        ({"records": ["raw.bin"]}, "records is no object"),
        ({"results": None}, "results is no object"),
        ({"outputs": {"raw.bin": 5}}, r"outputs does not say the sha256 and bytes of raw\.bin"),
        ({"outputs": {"raw.bin": {"bytes": 5}}}, r"outputs does not say the sha256 and bytes of raw\.bin"),
    ],
)
def test_a_file_of_another_shape_is_no_manifest(chain, change, said):
    Path("raw.json").write_text(json.dumps(json.loads(Path("raw.json").read_text()) | change))
    with pytest.raises(TsumugiError, match=rf"raw\.json: not a manifest \({said}\)"):
        read_manifest("raw.json")


def test_the_command_takes_gathering_files_and_refuses_other_specs(chain):
    def run(*arguments):
        return subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, check=False)

    gather(["shard.json", "stats.json"], "part.json")
    good = run("part.json")
    assert good.returncode == 0 and "3 manifests checked, 3 files" in good.stdout
    other = run("--experiment", "report.json")
    assert other.returncode == 1 and "error: report.json: the key 'report' is missing" in other.stderr


def test_a_gathering_file_stands_for_what_it_names(chain):
    gather(["shard.json", "raw.json"], "part.json")
    paths = [Path("part.json"), Path("raw.json"), Path("model.json"), Path("absent.json")]
    assert named(paths) == [Path(name) for name in ("shard.json", "raw.json", "model.json", "absent.json")]


def test_a_gathering_file_of_a_moved_folder_stands_for_what_lies_there(chain, tmp_path, monkeypatch):
    Path("parts").mkdir()
    gather(["shard.json"], "parts/part.json")
    moved = tmp_path / "moved"
    shutil.copytree(".", moved, ignore=shutil.ignore_patterns("moved"))
    assert named([Path("parts/part.json")]) == [Path("shard.json")]
    assert named([moved / "parts/part.json"]) == [moved / "shard.json"], "not that of the present folder"
    monkeypatch.chdir("/")
    assert named([moved / "parts/part.json"]) == [moved / "shard.json"]


def test_a_gathering_file_changes_when_what_it_names_does_and_only_then(chain):
    def gathered():
        gather(["raw.json", "shard.json"], "part.json")
        return Path("part.json").read_bytes()

    first = gathered()
    write_manifest("raw.json", kind="fetch_corpus", spec={"name": "raw"}, outputs=["raw.bin"], started=0.0)
    assert gathered() == first, "made again, later, the same"
    Path("raw.bin").write_text("other data")
    write_manifest("raw.json", kind="fetch_corpus", spec={"name": "raw"}, outputs=["raw.bin"])
    assert gathered() != first


def test_a_missing_manifest_is_not_gathered(chain):
    with pytest.raises(TsumugiError, match=r"absent\.json: the manifest cannot be read"):
        gather(["raw.json", "absent.json"], "part.json")
    assert not Path("part.json").exists()


def test_what_is_written_is_readable_to_whom_the_umask_lets(tmp_path):
    """safetensors, for one, writes files that only their user may read."""
    for mask, mode in ((0o022, 0o644), (0o002, 0o664), (0o077, 0o600)):
        before = os.umask(mask)
        try:
            with atomic_directory(tmp_path / f"model{mask}") as folder:
                (folder / "adapter").mkdir()
                save_file({"weight": torch.ones(2)}, folder / "adapter" / "model.safetensors")
            with atomic_path(tmp_path / f"file{mask}") as temporary:
                save_file({"weight": torch.ones(2)}, temporary)
            found = [tmp_path / f"model{mask}/adapter/model.safetensors", tmp_path / f"file{mask}"]
            assert [path.stat().st_mode & 0o777 for path in found] == [mode, mode]
            assert (tmp_path / f"model{mask}").stat().st_mode & 0o777 == 0o777 & ~mask
            assert os.umask(mask) == mask, "the umask itself must not have changed"
        finally:
            os.umask(before)


def test_manifests_name_every_package_that_can_have_computed(tmp_path):
    packages = write_manifest(tmp_path / "manifest.json", kind="k", spec={})["execution"]["packages"]
    assert {"numba", "llvmlite", "deepspeed", "torch", "triton", "numpy", "pyrwkv-tokenizer"} <= set(packages)
    lines = (
        (SCRIPT.parents[1] / "envs/requirements.in").read_text(encoding="utf-8").partition("# tests")[0].splitlines()
    )
    required = {re.split(r"==|\s", line)[0] for line in lines if line and not line.startswith("#")}
    compute_nothing = {"snakemake-executor-plugin-slurm", "pyyaml", "requests", "tensorboard", "nvidia-ml-py", "tqdm"}
    compute_nothing |= {"flufl.lock", "psutil", "matplotlib-fontja", "jinja2", "grandalf"}
    assert required - compute_nothing == required & set(packages)


def test_nothing_is_said_of_what_was_not_checked(chain):
    write_manifest("empty.json", kind="build_report", spec={})
    spec = {
        "report": True,
        "baselines": [],
        "runs": {},
        "pairs": [],
        "tokens": [],
        "tokenizers": [],
        "measured": [],
        "corpora": {},
    }
    Path("spec.json").write_text(json.dumps(spec))
    for arguments in (["empty.json"], ["--experiment", "spec.json"], []):
        done = subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert "nothing was checked" in done.stderr
        assert "the one that was recorded" not in done.stdout


def test_several_results_are_walked_together(chain):
    found = verify("stats.json", "model.json", "raw.json")
    assert found == (["stats.json", "shard.json", "raw.json", "model.json"], [], 4, 0)
    assert verify() == ([], [], 0, 0)


def test_every_result_of_the_experiments_is_among_those_that_are_checked():
    """One of each kind; tests/workflow/test_workflow.py holds the whole list to what a run of the rules has made."""
    spec = SPECS["verify_provenance"](load_config(YamlFile(ROOT / "experiments/own_articles.yaml").content), "results")
    paths = list(result_manifests(spec))
    assert len(paths) == len(set(paths))
    for part in (
        "report/manifest",
        "corpora/notes/raw",
        "corpora/notes/clean/00001",
        "tokens/notes/from-my-write/00000",
    ):
        assert f"results/{part}.json" in paths
