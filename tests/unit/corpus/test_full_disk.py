"""The jobs of the corpus on a disk that is full: a small one in memory, which only the job sees."""

import functools
import json
import os
import random
import re
import subprocess
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from corpus_samples import into_shards, write_jsonl
from stand_in_hub import standing_in
from tsumugi.corpus.fetch_corpus import fetch_corpus
from tsumugi.provenance import file_sha256

SCRIPTS = Path(__file__).resolve().parents[3] / "scripts"
# The job twice: on a disk of the size given, and once there is room; what lies on the disk after each.
TWICE = """
mkdir full && mount -t tmpfs -o size=$1 tmpfs full || exit 90
shift
"$@"; echo "status $?"; find full -type f | sed 's/^/left /'
mount -o remount,size=64m full || exit 90
"$@" >/dev/null; echo "status $?"; find full -type f | sed 's/^/then /'
"""


@pytest.fixture(scope="module", autouse=True)
def _mounts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mount")
    tried = subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", folder], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip("a disk of its own can be mounted by root alone")


def twice(folder, size, script, **arguments):
    """Run a script on a small disk, then on a larger one: the line that it says, what is left, what is there then."""
    flags = [word for name, value in arguments.items() for word in (f"--{name}", str(value))]
    command = ["unshare", "-m", "sh", "-c", TWICE, "sh", size, sys.executable, str(SCRIPTS / script), *flags]
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, "HF_HUB_DISABLE_PROGRESS_BARS": "1"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^status (\d+)$", done.stdout, re.MULTILINE) == ["1", "0"], done.stdout + done.stderr
    said = re.sub(r".*UserWarning: Not enough free disk space.*\n.*warn.*\n", "", done.stderr)  # huggingface_hub's own
    (line,) = said.splitlines()
    return line, *(re.findall(f"^{mark} full/(.*)$", done.stdout, re.MULTILINE) for mark in ("left", "then"))


@pytest.fixture(scope="module")
def sharded(tmp_path_factory):
    """A corpus of 1.5 MB that no compression makes small, fetched and in two shards."""
    folder = tmp_path_factory.mktemp("corpus")
    chosen = random.Random(0)
    kanji = [chr(code) for code in range(0x4E00, 0x9FA0)]
    write_jsonl(folder / "a.jsonl", [{"text": "".join(chosen.choices(kanji, k=2000))} for _ in range(250)])
    spec = {"reader": "mc4", "licence": "unknown"}
    spec |= {"num_shards": 2, "bad_records": 0.0, "max_document_bytes": 2**24, "oversized": "refuse"}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        fetch_corpus({**spec, "files": ["a.jsonl"]}, Path("data"), Path("raw.json"))
        into_shards({**spec, "files": ["a.jsonl"]}, Path())
    (folder / "shard.json").write_text(json.dumps(spec))
    (folder / "normalize.json").write_text(json.dumps({"cleaning": "plain", "normalize": "neologd", "filters": []}))
    return folder


def advice(name, folder="full"):
    found = r"the disk is full \(No space left on device\)"
    return rf"error: full/{name}: {found}, .*; make room on the disk that holds {folder}, "


@pytest.mark.parametrize("size", ["16k", "500k", "full but for the manifest"])
def test_shards(sharded, tmp_path, size):
    for name in ("a.jsonl", "raw.json", "shard.json"):
        (tmp_path / name).symlink_to(sharded / name)
    first, second = "raw/00000.parquet", "raw/00001.parquet"
    tables = ["rejected.parquet", first, second]
    whole = not size.endswith("k")
    if whole:
        size = f"{sum(-(-(sharded / name).stat().st_size // 4096) * 4 for name in tables)}k"
    paths = {
        "raw": "raw.json",
        "shards": "full/raw",
        "rejected": "full/rejected.parquet",
        "output": "full/sharded.json",
    }
    line, left, then = twice(tmp_path, size, "shard_corpus.py", spec="shard.json", **paths)
    assert re.match(advice("sharded.json" if whole else "raw/0000[01].parquet", "full" if whole else "full/raw"), line)
    assert sorted(left) == (sorted(tables) if whole else []), "whole files or none"
    assert sorted(then) == sorted([*tables, "sharded.json"])


def test_a_normalized_shard(sharded, tmp_path):
    (tmp_path / "raw").symlink_to(sharded / "raw")
    paths = {"sharded": sharded / "sharded.json", "shard": "raw/00000.parquet", "output": "full/00000.json"}
    line, left, then = twice(tmp_path, "100k", "normalize_shard.py", spec=sharded / "normalize.json", **paths)
    assert re.match(advice("00000.parquet"), line) and set(left) <= {"00000.dropped.parquet"}
    assert sorted(then) == ["00000.dropped.parquet", "00000.json", "00000.parquet"]


def test_a_download(sharded, tmp_path):
    handler = functools.partial(QuietHandler, directory=sharded)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/a.jsonl"
        pins = {"a.jsonl": file_sha256(sharded / "a.jsonl")}
        spec = {"reader": "mc4", "files": [url], "licence": "unknown", "sha256": pins}
        (tmp_path / "spec.json").write_text(json.dumps(spec))
        line, left, then = twice(
            tmp_path, "500k", "fetch_corpus.py", spec="spec.json", data="full/own", output="raw.json"
        )
        server.shutdown()
        thread.join()
    assert re.match(advice("own/a.jsonl", "full/own"), line)
    assert "what has come so far is kept in full/own/a.jsonl.part" in line
    assert left == ["own/a.jsonl.part"] and then == ["own/a.jsonl"]


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def test_a_dataset_of_the_hub(sharded, tmp_path, monkeypatch):
    columns = {"text": "text", "title": None, "category": None}
    spec = {"reader": "hf_dataset", "name": "sea/birds", "part": "train", "columns": columns, "licence": "unknown"}
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    with standing_in() as hub:
        hub.push("sea/birds", {"data/train-00000-of-00001.parquet": (sharded / "raw/00000.parquet").read_bytes()})
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        line, left, then = twice(
            tmp_path, "200k", "fetch_corpus.py", spec="spec.json", data="full/own", output="raw.json"
        )
    path = "own/data/train-00000-of-00001.parquet"
    assert re.match(advice(path, "full/own/data"), line)
    assert not [name for name in left if name.endswith((".parquet", ".incomplete"))] and path in then
