"""Paths and patterns of raw files, with the names that people give to files."""

import os
from pathlib import Path

import pytest

from tsumugi.corpus.sources.file_patterns import matching_files

FILES = [
    *("a.txt", "a[1].txt", "b1.txt", "b2.txt", "~tilde.txt", "backup.txt~", "with space/e f.txt", "{x}.txt", "q?.txt"),
    *("texts[2020]/x.txt", "texts[2020]/y[1].txt", "texts[2020]/y1.txt", "texts2/z.txt", "題/[改]本文.txt"),
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name in FILES:
        path = tmp_path / "work" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "home").mkdir()
    (tmp_path / "home/h[1].txt").touch()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.mark.parametrize("name", FILES)
def test_a_path_as_it_is_written_is_that_file(folder, name):
    for path in (name, f"./{name}", f"../work/{name}", str(folder / "work" / name)):
        assert matching_files(path) == [path], "as it is written: the ids of documents hang on it"


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("texts[2020]/*.txt", ["texts[2020]/x.txt", "texts[2020]/y1.txt", "texts[2020]/y[1].txt"]),
        ("b[12].txt", ["b1.txt", "b2.txt"]),
        ("b[!1].txt", ["b2.txt"]),
        ("texts[2].txt", []),
        ("texts[2]/*", ["texts2/z.txt"]),
        ("**/x.txt", ["texts[2020]/x.txt"]),
        ("a[[]1].txt", ["a[1].txt"]),
        ("with space/*", ["with space/e f.txt"]),
        ("題/[[]改*.txt", ["題/[改]本文.txt"]),
        ("*.txt~", ["backup.txt~"]),
        ("texts[2020]", []),
        ("nothing", []),
    ],
)
def test_a_pattern_matches_what_it_says(folder, pattern, found):
    assert matching_files(pattern) == found


def test_a_tilde_is_the_home_folder(folder):
    home = str(folder / "home/h[1].txt")
    assert matching_files("~/h[1].txt") == matching_files("~/*.txt") == [home]
    assert matching_files("~tilde.txt") == ["~tilde.txt"]
    Path("~").mkdir()
    assert matching_files("~/*.txt") == [], "a folder of this name goes first"
    assert os.path.exists(home)
