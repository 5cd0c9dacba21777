"""A file that a person replaced is noticed, whatever its time and size say; one that is the same is not read again."""

import json
import os
import shutil
from pathlib import Path

import pytest

import tsumugi.provenance.external_files
from tsumugi.corpus.fetch_corpus import fetch_corpus, recorded_files
from tsumugi.errors import TsumugiError
from tsumugi.outside_model import source_files
from tsumugi.provenance.external_files import HashMemory, changed_files

SPEC = {"reader": "local_files", "files": ["raw/*.txt"]}
OLD = (1_000_000_000, 1_000_000_000)


@pytest.fixture
def fetched(tmp_path, monkeypatch):
    """Three files, recorded in raw.json."""
    monkeypatch.chdir(tmp_path)
    Path("raw").mkdir()
    for name in "abc":
        Path(f"raw/{name}.txt").write_text(f"text of {name}\n")
    fetch_corpus(SPEC, Path("data/own"), Path("raw.json"))
    return Path("raw.json")


@pytest.fixture
def hashed(monkeypatch):
    """Names of the files that are read for their hash."""
    names, sha256 = [], tsumugi.provenance.external_files.file_sha256
    monkeypatch.setattr(
        tsumugi.provenance.external_files, "file_sha256", lambda name: names.append(name) or sha256(name)
    )
    return names


def changed(memory=None):
    names = json.loads(Path("raw.json").read_text())["outputs"]
    return changed_files("raw.json", names, memory or HashMemory())


def other(text="TEXT of a\n"):
    """A file of an older time, of the same size as raw/a.txt."""
    Path("other").write_text(text)
    os.utime("other", OLD)
    return "other"


def copied_over():
    shutil.copy2(other(), "raw/a.txt")  # cp -p: the same inode


def moved_over():
    os.replace(other(), "raw/a.txt")  # mv, tar: another inode


def written_in_place_with_the_old_time():
    before = os.stat("raw/a.txt")
    Path("raw/a.txt").write_text("TEXT of a\n")
    os.utime("raw/a.txt", ns=(before.st_atime_ns, before.st_mtime_ns))


def linked_to_another():
    target = Path(other()).rename("elsewhere")
    Path("raw/a.txt").unlink()
    Path("raw/a.txt").symlink_to(target.absolute())


@pytest.mark.parametrize("replace", [copied_over, moved_over, written_in_place_with_the_old_time, linked_to_another])
def test_a_file_replaced_by_another_of_its_size_is_noticed(fetched, replace):
    assert changed() == {}
    replace()
    assert changed() == {"raw/a.txt": "has another content than when raw.json was written"}
    with pytest.raises(TsumugiError, match=r"raw/a\.txt: has another content than when raw\.json was written; restore"):
        recorded_files("raw.json")


def test_another_size_and_a_file_that_is_gone_are_noticed_without_reading(fetched, hashed):
    Path("raw/a.txt").write_text("longer than before\n")
    os.utime("raw/a.txt", OLD)
    Path("raw/b.txt").unlink()
    assert changed() == {
        "raw/a.txt": "has 19 bytes, but had 10 when raw.json was written",
        "raw/b.txt": "is gone, but was there when raw.json was written",
    }
    assert hashed == []


def test_a_link_whose_target_is_swapped_is_noticed(fetched):
    for name, text in (("one", "text of a\n"), ("two", "TEXT of a\n")):
        Path(name).write_text(text)
        os.utime(name, OLD)
    Path("raw/a.txt").unlink()
    Path("raw/a.txt").symlink_to(Path("one").absolute())
    fetch_corpus(SPEC, Path("data/own"), Path("raw.json"))
    Path("raw/a.txt").unlink()
    Path("raw/a.txt").symlink_to(Path("two").absolute())  # its inode is older than raw.json
    assert list(changed()) == ["raw/a.txt"]


def test_what_was_touched_or_restored_is_read_once_and_then_remembered(fetched, hashed):
    shutil.move("raw/a.txt", "away")
    assert list(changed()) == ["raw/a.txt"]
    shutil.copy("away", "raw/a.txt")
    os.utime("raw/b.txt", OLD)
    memory = HashMemory("memory/hidden/hashes.json")
    Path("memory").mkdir()
    assert changed(memory) == {}
    assert hashed == ["raw/a.txt", "raw/b.txt"]
    memory.save()
    assert changed(HashMemory("memory/hidden/hashes.json")) == {}
    assert len(hashed) == 2, "nothing is read a second time"
    copied_over()
    assert list(changed(HashMemory("memory/hidden/hashes.json"))) == ["raw/a.txt"]


def test_files_that_nobody_touched_are_not_read(fetched, hashed):
    assert changed() == {}
    assert len(recorded_files("raw.json")) == 3
    assert hashed == []


def test_without_what_the_file_system_said_the_hashes_are_compared(fetched, hashed):
    manifest = json.loads(fetched.read_text())
    del manifest["execution"]["found"]
    fetched.write_text(json.dumps(manifest))
    assert changed() == {}
    assert hashed == ["raw/a.txt", "raw/b.txt", "raw/c.txt"]
    moved_over()
    assert list(changed()) == ["raw/a.txt"]


def test_a_memory_that_is_no_memory_is_begun_anew(fetched, tmp_path, hashed):
    os.utime("raw/a.txt", OLD)  # else no memory is asked
    for content in ("", "[]", '{"raw/a.txt": 3}', '{"raw/a.txt": [[1], "x"]}'):
        path = tmp_path / "hashes.json"
        path.write_text(content)
        assert changed(HashMemory(path)) == {}
    assert hashed == ["raw/a.txt"] * 4


def test_a_memory_that_cannot_be_kept_stops_nothing(fetched):
    os.utime("raw/a.txt", OLD)
    memory = HashMemory("raw.json/hashes.json")  # below a file
    assert changed(memory) == {}
    memory.save()


def test_the_identity_of_raw_files_does_not_depend_on_their_times(fetched):
    before = json.loads(fetched.read_text())
    os.utime("raw/a.txt", OLD)
    fetch_corpus(SPEC, Path("data/own"), Path("raw.json"))
    after = json.loads(fetched.read_text())
    assert {key: before[key] for key in ("spec", "inputs", "outputs")} == {
        key: after[key] for key in ("spec", "inputs", "outputs")
    }


def test_a_note_beside_a_model_has_nothing_trained_again(tmp_path):
    decide = ["added_tokens.json", "config.json", "model.safetensors", "spiece.model", "vocab.txt"]
    notes = ["README.md", "readme", "LICENSE", "LICENSE.txt", "Licence", "NOTICE", "card.png", ".gitattributes", "a.MD"]
    for name in [*decide, *notes]:
        (tmp_path / name).write_text(name)
    assert [path.name for path in source_files(str(tmp_path))] == decide
