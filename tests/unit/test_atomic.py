"""Temporary names: what killed processes have left goes, what belongs to a living one stays."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tsumugi import atomic
from tsumugi.atomic import atomic_directory, write_text

WRITER = """
import sys
from tsumugi.atomic import atomic_directory, atomic_path
with atomic_directory("model") as folder, atomic_path("table") as file:
    (folder / "weights").write_text("half")
    file.write_text("half")
    print("ready", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def writer(tmp_path):
    """A process in the middle of writing."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout.readline() == b"ready\n"
    yield process
    process.kill()
    process.communicate()


def write(folder):
    """Another process writes to the same places."""
    write_text(folder / "table", "whole")
    with atomic_directory(folder / "model") as temporary:
        (temporary / "weights").write_text("whole")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_a_killed_writer_has_left_goes_with_the_next_one_and_a_living_ones_stays(tmp_path, writer):
    before = names(tmp_path)
    assert len(before) == 2
    write(tmp_path)
    assert names(tmp_path) == sorted([*before, "model", "table"])
    writer.kill()
    writer.wait()
    write(tmp_path)
    assert names(tmp_path) == ["model", "table"]
    assert (tmp_path / "model/weights").read_text() == "whole"


def test_a_living_process_is_told_from_a_number_that_is_none(tmp_path):
    ours = atomic._ours("tmp")
    living, none = (tmp_path / f".table{ours.replace(f'.{os.getpid()}.', f'.{pid}.')}" for pid in (1, 10**30))
    for leftover in (living, none):
        leftover.write_text("half")
    write_text(tmp_path / "table", "whole")
    assert names(tmp_path) == sorted([living.name, "table"])


def test_an_exchanged_folder_goes_too_and_similar_names_stay(tmp_path, writer):
    ours = Path(names(tmp_path)[0]).name.removeprefix(".model")
    writer.kill()
    writer.wait()
    (tmp_path / f".model{ours.replace('.tmp', '.old')}/deep").mkdir(parents=True)
    for stays in (f".model2{ours}", f"model{ours}", ".model.tmp", ".model.notes.tmp"):
        (tmp_path / stays).mkdir()
    write(tmp_path)
    assert names(tmp_path) == sorted(
        [f".model2{ours}", f"model{ours}", ".model.tmp", ".model.notes.tmp", "model", "table"]
    )


def test_of_another_machine_only_what_has_not_changed_for_a_week_goes(tmp_path, writer):
    found = tmp_path / names(tmp_path)[0]
    writer.kill()
    writer.wait()
    _, start, process, _ = found.name.rsplit(".", 3)
    elsewhere = found.rename(tmp_path / f".model.gpu07.{start}.{process}.tmp")
    rebooted = tmp_path / f".model.{os.uname().nodename}.00000000-{start.rpartition('-')[2]}.{process}.tmp"
    container = tmp_path / f".model.{os.uname().nodename}.{start.partition('-')[0]}-1.{process}.tmp"
    for other in (rebooted, container):
        other.mkdir()
    write(tmp_path)
    assert elsewhere.exists() and container.exists() and not rebooted.exists()
    week_ago = time.time() - atomic.ABANDONED_SECONDS - 60
    for path in (*elsewhere.iterdir(), elsewhere):
        os.utime(path, (week_ago, week_ago))
    write(tmp_path)
    assert not elsewhere.exists() and container.exists()
