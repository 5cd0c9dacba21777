"""Token files on a machine's own disk: whole and checked, shared by jobs, removed only when nobody reads them."""

import json
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest

from tsumugi.cluster import staging
from tsumugi.cluster.staging import staged
from tsumugi.errors import TsumugiError
from tsumugi.provenance import read_manifest, write_manifest
from tsumugi.tokenization.indexed_dataset import IndexedDataset, IndexedDatasetWriter

WORKER = Path(__file__).parents[1] / "staging_worker.py"
SCRIPT = Path(__file__).parents[3] / "scripts/train_model.py"


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A working folder with two shards of tokens, as encode_shard leaves them, and an empty scratch folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scratch").mkdir()
    for number in (0, 1):
        write_shard(f"0000{number}", [1000 + number, number])
    return tmp_path


def write_shard(name, tokens):
    folder = Path("results/tokens/numbers/words")
    for split in ("train", "dev"):
        (folder / split).mkdir(parents=True, exist_ok=True)
        with IndexedDatasetWriter(folder / split / name, 70_000) as writer:
            writer.add_document([[*tokens, len(split)] * 50])
    outputs = [folder / split / f"{name}{end}" for split in ("train", "dev") for end in (".bin", ".idx")]
    write_manifest(folder / f"{name}.json", kind="encode_shard", spec={"shard": name}, outputs=outputs)


def manifests():
    return sorted(Path("results/tokens/numbers/words").glob("*.json"))


def own(work):
    return work / f"scratch/tsumugi-{os.getuid()}"


def files(work):
    """Name -> when it was last written, in nanoseconds: it changes when a file is copied again."""
    return {path.name: path.stat().st_ino for path in (own(work) / "files").iterdir()}


def read(data):
    """All tokens of the train split."""
    prefixes = [path.parent / "train" / path.stem for path in data]
    return [np.asarray(IndexedDataset(prefix).tokens).tolist() for prefix in prefixes]


def test_what_is_read_on_the_own_disk_is_what_was_encoded(work, capsys):
    with staged(manifests(), f"{work}/scratch") as data:
        assert all(path.is_relative_to(own(work) / "jobs") for path in data)
        assert [path.parts[-3:] for path in data] == [path.parts[-3:] for path in manifests()], "corpus and tokenizer"
        assert [read_manifest(path) for path in data] == [read_manifest(path) for path in manifests()]
        shutil.move("results", "away")
        assert read(data) == [[1000, 0, 5] * 50, [1001, 1, 5] * 50]
        shutil.move("away", "results")
    said = capsys.readouterr().out
    assert "8 token files, 0.00 GiB, are in " in said and "5 of them were copied" in said, "the indexes are alike"
    assert not list((own(work) / "jobs").iterdir())
    before = files(work)
    with staged(manifests(), f"{work}/scratch") as data:
        assert read(data) == read(manifests())
    assert "0 of them were copied" in capsys.readouterr().out
    assert files(work) == before


@pytest.mark.parametrize("harm", ["cut off", "changed", "a link"])
def test_a_copy_that_is_not_whole_is_made_again(work, harm):
    with staged(manifests(), f"{work}/scratch"):
        pass
    copy = next(path for path in (own(work) / "files").iterdir() if path.suffix == ".bin")
    whole = copy.read_bytes()
    copy.unlink()
    if harm == "a link":
        (work / "elsewhere").write_bytes(whole)
        copy.symlink_to(work / "elsewhere")
    else:
        copy.write_bytes(whole[:-1] if harm == "cut off" else whole[:-1] + bytes([whole[-1] ^ 1]))
    with staged(manifests(), f"{work}/scratch") as data:
        assert read(data) == read(manifests())
        assert not copy.is_symlink() and copy.read_bytes() == whole


def test_a_source_that_is_not_what_its_manifest_says_is_an_error(work):
    source = Path("results/tokens/numbers/words/train/00001.bin")
    source.write_bytes(source.read_bytes()[:-1] + b"\xff")
    message = r"train/00001.bin: is not what its manifest says \(another sha256\)"
    with pytest.raises(TsumugiError, match=message), staged(manifests(), f"{work}/scratch"):
        pass
    assert not list((own(work) / "files").glob("*.tmp"))


@pytest.mark.parametrize(
    ("scratch", "reason"),
    [
        (None, "the inventory names no scratch folder"),
        ("/nowhere/at/all", "scratch folder /nowhere/at/all is not there"),
        ("$NO_SUCH_VARIABLE/x", r"scratch folder $NO_SUCH_VARIABLE/x is not there"),
        ("linked", "is a link, belongs to another user, or is open to others"),
        ("open", "is a link, belongs to another user, or is open to others"),
    ],
)
def test_without_a_disk_of_its_own_the_shared_one_is_read(work, capsys, scratch, reason):
    (work / "elsewhere").mkdir()
    if scratch == "linked":
        own(work).symlink_to(work / "elsewhere")
    elif scratch == "open":
        own(work).mkdir(mode=0o700)
        own(work).chmod(0o777)
    with staged(manifests(), f"{work}/scratch" if scratch in ("linked", "open") else scratch) as data:
        assert data == manifests()
    said = capsys.readouterr().out
    assert "token files are read from the shared disk: " in said and reason in said
    assert not list((work / "elsewhere").iterdir())


def test_a_variable_names_the_disk(work, monkeypatch):
    monkeypatch.setenv("OWN_DISK", str(work))
    with staged(manifests(), "$OWN_DISK/scratch") as data:
        assert data[0].is_relative_to(own(work))


def test_a_manifest_cannot_lead_out_of_the_folder(work, capsys):
    manifest = manifests()[0]
    found = json.loads(manifest.read_text())
    for path, described in (("../../../secret.bin", {}), ("results/tokens/numbers/words/x.bin", {"sha256": "../../x"})):
        first = next(iter(found["outputs"].values()))
        manifest.write_text(json.dumps(found | {"outputs": {path: first | described}}))
        with staged([manifest], f"{work}/scratch") as data:
            assert data == [manifest]
        assert "does not lie beside it, or has no hash" in capsys.readouterr().out


# --- several jobs ---


@contextmanager
def another_job(work, *paths):
    """A process that has these staged until the block ends."""
    process = subprocess.Popen(
        [sys.executable, WORKER, work / "scratch", *paths], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_until_staged(process):
    while not (line := process.stdout.readline()).startswith("staged "):
        assert line, "it ended early"
    return Path(line.removeprefix("staged ").strip())


@pytest.fixture
def disk(work, monkeypatch):
    """A disk that holds so many bytes of files as the test says."""
    monkeypatch.setattr(staging, "SPARE_BYTES", 0)
    usage = namedtuple("usage", "total used free")

    def of_size(capacity):
        def measure(folder):
            used = sum(path.lstat().st_size for path in (Path(folder) / "files").iterdir())
            return usage(capacity, used, capacity - used)

        monkeypatch.setattr(staging.shutil, "disk_usage", measure)

    return of_size


def names(manifest):
    return {described["sha256"] + path[-4:] for path, described in read_manifest(manifest)["outputs"].items()}


def test_room_is_made_from_what_was_unused_longest(work, disk, capsys):
    for number in (2, 3):
        write_shard(f"0000{number}", [1000 + number, number])
    first, second, third, fourth = manifests()
    whole = sum(
        path.stat().st_size
        for name in ("00000",)
        for path in Path("results").rglob(f"{name}.*")
        if path.suffix != ".json"
    )
    disk(2.5 * whole)
    for age, manifest in ((300, first), (200, second)):
        with staged([manifest], f"{work}/scratch"):
            pass
        for name in names(manifest):
            path = own(work) / "files" / name
            os.utime(path, (path.stat().st_mtime - age,) * 2)
    with staged([third], f"{work}/scratch") as data:
        assert data[0].is_relative_to(own(work))
    assert names(second) | names(third) <= set(files(work)) and not names(first) <= set(files(work))
    disk(0.5 * whole)
    capsys.readouterr()
    with staged([fourth], f"{work}/scratch") as data:
        assert data == [fourth]
    said = capsys.readouterr().out
    assert "token files are read from the shared disk: " in said and "GiB would be needed" in said


def test_what_a_living_job_reads_is_kept_and_what_a_dead_one_read_is_not(work, disk):
    first, second = manifests()
    with another_job(work, first) as other:
        job = wait_until_staged(other)
        disk(1)  # byte
        with staged([second], f"{work}/scratch") as data:
            assert data == [second], "there is no room"
        assert names(first) <= set(files(work))
        other.kill()
        other.wait()
        assert job.exists(), "it could not clean up"
        with staged([second], f"{work}/scratch") as data:
            assert data == [second]
        assert set(files(work)) <= names(second) and not list((own(work) / "jobs").iterdir())


def test_a_copy_that_was_killed_is_swept_away_and_two_jobs_at_once_copy_once(work):
    with ExitStack() as stack:
        (own(work) / "files").mkdir(parents=True, mode=0o700)
        own(work).chmod(0o700)
        (own(work) / "files/0123.bin.tmp").write_text("half")
        jobs = [stack.enter_context(another_job(work, *manifests())) for _ in range(3)]
        staged_ = [wait_until_staged(job) for job in jobs]
        assert len(set(staged_)) == 3
        assert set(files(work)) == names(manifests()[0]) | names(manifests()[1])
        assert all(path.exists() for path in staged_)


def test_training_reads_the_staged_files_on_every_rank(token_folder, training_specs, tmp_path, monkeypatch):
    shutil.copytree(token_folder / "results/tokens", tmp_path / "results/tokens")
    shutil.copytree(token_folder / "results/tokenizers", tmp_path / "results/tokenizers")
    monkeypatch.chdir(tmp_path)
    for manifest in manifests():  # those of the fixture name no files
        outputs = [path for path in Path("results/tokens").rglob(f"{manifest.stem}.*") if path != manifest]
        results = read_manifest(manifest)["results"]
        write_manifest(manifest, kind="encode_shard", spec={}, outputs=outputs, results=results)
    recipe = training_specs["rwkv"]["recipe"] | {"steps": 4}
    (tmp_path / "four.json").write_text(json.dumps(training_specs["rwkv"] | {"recipe": recipe}))
    (tmp_path / "kinds.yaml").write_text(f"kinds: {{cpu: {{gpus: 0, scratch: {tmp_path}}}}}\n")
    data = list(map(str, manifests()))
    where = ["--state", "state/staged", "--output", "results/models/staged/seed3/manifest.json"]
    start = ["--init-from", "results/tokenizers/words/manifest.json", "--data", *data, "--threads", "1"]
    flags = ["--stage", "--inventory", tmp_path / "kinds.yaml", "--processes", "2"]
    done = subprocess.run(
        [sys.executable, SCRIPT, "--spec", "four.json", "--seed", "3", *start, *where, *flags],
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("token files, ") == 1, "one rank of the machine copies"
    inputs = read_manifest("results/models/staged/seed3/manifest.json")["inputs"]
    assert set(data) <= set(inputs), "the manifest names the files as they are shared"
