"""The real packages, one for each format, small ones: without a network these tests are skipped, and say so.

Distributions replace their packages, so what is asserted are lower bounds, well under what was found once.
"""

import shutil
import subprocess
import sys
from collections import Counter, defaultdict

import pytest

from tsumugi.corpus.extract.japanese import japanese_share
from tsumugi.corpus.readers import READERS
from tsumugi.corpus.readers.debian_docs import DebianDocs

WAIT_SECONDS = 120


def need(*command, cwd):
    """Skip the test where a program is missing or does not reach what it asks: with a command of this test's own."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"THE REAL PACKAGES WERE NOT READ: there is no {command[0]} here")
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=WAIT_SECONDS)
    except subprocess.TimeoutExpired:
        pytest.skip(f"THE REAL PACKAGES WERE NOT READ: no answer to {command[0]} within {WAIT_SECONDS} s")
    if done.returncode != 0:
        pytest.skip(f"THE REAL PACKAGES WERE NOT READ: {' '.join(command)}: {done.stderr.strip()[-300:]}")


@pytest.fixture(scope="module")
def apt(tmp_path_factory):
    folder = tmp_path_factory.mktemp("apt")
    for part in ("lists/partial", "cache/archives/partial"):
        (folder / part).mkdir(parents=True)
    options = {"Dir::State::lists": folder / "lists", "Dir::Cache": folder / "cache", "Acquire::Languages": "none"}
    options |= {"APT::Update::Error-Mode": "any", "Debug::NoLocking": "1", "APT::Sandbox::User": "root"}
    need("apt-get", *(f"-o{key}={value}" for key, value in options.items()), "update", cwd=folder)


def read(folder, **settings):
    """Fetch and read as the jobs do; package -> documents. A second look at the folder fetches nothing."""
    spec = DebianDocs(reader="debian_docs", **settings).model_dump(mode="json")
    reader = READERS["debian_docs"]
    files = reader.fetch(spec, folder, "real")
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert reader.fetch(spec, folder, "real") == files
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    found = defaultdict(list)
    for document in reader.read(files, spec):
        found[document.source.partition(":")[0]].append(document)
    everything = [document for documents in found.values() for document in documents]
    assert len({document.id for document in everything}) == len(everything)
    assert all(document.text and document.title and document.licence for document in everything)
    assert japanese_share("".join(document.text for document in everything)) > 0.4
    return found


def long_ones(documents):
    return [document for document in documents if len(document.text) >= 200]


def test_manuals(apt, tmp_path):
    wanted = {  # package -> long documents, categories
        "apt-doc": (6, 1),  # DocBook
        "maint-guide-ja": (35, 1),
        "debian-policy-ja": (12, 1),  # Sphinx
        "groonga-doc": (400, 8),
        "live-manual-html": (55, 1),  # SiSU
        "lilypond-doc-html-ja": (330, 5),  # texi2html
        "gnome-user-docs": (40, 15),  # Mallard
    }
    found = read(tmp_path, packages=list(wanted))
    for package, (documents, categories) in wanted.items():
        assert len(long_ones(found[package])) >= documents, package
        assert len({document.category for document in found[package]}) >= categories, package


def test_the_novel(apt, tmp_path):
    novel = read(tmp_path, source_packages=["sentencepiece"])["sentencepiece"]
    assert len(novel) >= 100
    assert novel[0].title == "吾輩は猫である 一 (1)"
    assert novel[0].text.startswith("吾輩は猫である。名前はまだ無い。\n")
    assert not any(mark in document.text for document in novel for mark in "《》｜※［］")


def test_package_descriptions(apt, tmp_path):
    found = read(tmp_path, package_descriptions=True)["Translation-ja"]
    assert len(long_ones(found)) >= 1200
    sections = Counter(document.category for document in found)
    assert len(sections) >= 30 and sections["unknown"] < 0.1 * len(found)


def test_npm(tmp_path):
    need("npm", "view", "electron-i18n@1.3136.0", "version", cwd=tmp_path)
    found = read(tmp_path, npm_packages=["electron-i18n@1.3136.0", "freee-mcp@0.35.2"])
    assert len(long_ones(found["electron-i18n"])) >= 300
    assert len(long_ones(found["freee-mcp"])) >= 100


def test_pypi(tmp_path):
    need(sys.executable, "-m", "pip", "index", "versions", "juricode-mcp", cwd=tmp_path)
    laws = read(tmp_path, pypi_packages=["juricode-mcp==0.1.0"])["juricode-mcp"]
    assert len(laws) >= 20
    assert {"statute", "ruling"} <= {document.category for document in laws}
    assert len({document.licence for document in laws}) >= 3
