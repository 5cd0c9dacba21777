"""Which locks of Snakemake are removed: those whose owner is gone, and no others."""

import os
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest

from tsumugi.cluster.lease import this_machine
from tsumugi.workflow.snakemake_lock import Owner, remove_stale

LIFETIME = 1.5


@pytest.fixture
def gone():
    """The owner that a process was which has ended."""
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    owner = Owner(this_machine(), process.pid, time.time())
    process.wait()
    return owner


def put(folder, number, owner):
    file = folder / f"{number}.output.lock"
    file.write_text((owner.line + "\n" if owner else "") + "results/a\nresults/b\n")
    return file


def test_the_list_of_a_process_that_is_gone_is_removed_and_that_of_a_living_one_stays(tmp_path, gone):
    dead, ours = put(tmp_path, 0, gone), put(tmp_path, 1, Owner.this())
    put(tmp_path, 2, replace(gone, process=os.getpid(), started=1.0))  # its number is another process's by now
    remove_stale(tmp_path, 600)
    assert [path.name for path in tmp_path.iterdir()] == [ours.name] and not dead.exists()


@pytest.mark.parametrize("text", ["", "results/a\n", "# held by\nresults/a\n", "# held by a b c\n"])
def test_a_list_that_names_no_owner_stays(tmp_path, text):
    (tmp_path / "0.input.lock").write_text(text)
    remove_stale(tmp_path, 600)
    assert (tmp_path / "0.input.lock").read_text() == text


@pytest.mark.parametrize("machine", ["gpu07:0-0-0:1", "{host}:0-0-0:1"], ids=["another host", "before a restart"])
@pytest.mark.parametrize("renewed", [False, True])
def test_of_another_machine_the_one_that_is_not_renewed_is_removed(tmp_path, gone, machine, renewed):
    file = put(tmp_path, 0, replace(gone, machine=machine.format(host=this_machine().partition(":")[0])))
    over = threading.Event()

    def renew():
        while not over.wait(0.05):
            os.utime(file)

    thread = threading.Thread(target=renew)
    if renewed:
        thread.start()
    try:
        remove_stale(tmp_path, LIFETIME)
        assert file.exists() == renewed
    finally:
        over.set()
        if renewed:
            thread.join()
    assert not list(tmp_path.glob("*.stale"))
