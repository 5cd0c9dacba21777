"""One virtual Slurm for all tests of this folder; where none can run they are left out, but not in CI."""

import os
import shutil
from pathlib import Path

import pytest

from slurm_bed.cluster import VirtualSlurm, require_machine
from slurm_bed.errors import BedError

REQUIRED = any(os.environ.get(name, "0").lower() not in ("", "0", "false") for name in ("CI", "TSUMUGI_REQUIRE_SLURM"))


def pytest_collection_modifyitems(items):
    """Where no virtual Slurm can run, the tests of this folder are left out, and the summary says so in one line."""
    here = [item for item in items if item.path.is_relative_to(Path(__file__).parent)]
    if here and not REQUIRED and (reason := _why_not()):
        for item in here:
            item.add_marker(pytest.mark.skip(reason=f"THE TESTS ON SLURM DID NOT RUN: {reason}"))


@pytest.fixture(scope="session", autouse=True)
def slurm_can_run():
    """Continuous integration must be able to run it."""
    if reason := _why_not():
        pytest.fail(f"the tests on Slurm cannot run: {reason}", pytrace=False)


@pytest.fixture(scope="session")
def cluster(slurm_can_run, tmp_path_factory):
    """A running :class:`VirtualSlurm`. A test leaves it as it found it: no jobs, every node with power."""
    slurm = VirtualSlurm(tmp_path_factory.mktemp("bed") / "slurm")
    slurm.start()
    yield slurm
    slurm.stop()
    shutil.rmtree(slurm.folder / "database")  # 100 MB that nobody reads; the logs stay


def _why_not():
    """Why no virtual Slurm can run here, in one line; empty if one can."""
    try:
        require_machine()
    except BedError as error:
        return str(error)
    return ""
