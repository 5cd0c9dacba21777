"""One full run of the tests' experiment, shared; tests that change something work on a copy."""

import shutil

import pytest

from on_workstation import snakemake
from tiny_experiment import prepare


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A folder in which the whole experiment has run."""
    folder = tmp_path_factory.mktemp("experiment")
    prepare(folder)
    snakemake(folder)
    return folder


@pytest.fixture
def copy(finished, tmp_path):
    """A copy of it, with Snakemake's own records, that a test may change."""
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder, symlinks=True)
    return folder
