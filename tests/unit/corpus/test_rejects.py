"""Records that are no documents: named, gathered, counted, and refused where they are too many."""

import gzip
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from corpus_samples import into_shards, read_items
from tsumugi.corpus.fetch_corpus import fetch_corpus
from tsumugi.corpus.readers import READERS, RawFile, Rejected
from tsumugi.errors import TsumugiError


def prepare(folder, rows):
    """A corpus of JSON lines, recorded; ``rows`` are lines as they are."""
    (folder / "a.jsonl").write_bytes(b"\n".join(rows))
    spec = {"reader": "mc4", "files": ["a.jsonl"], "licence": "unknown"}
    fetch_corpus(spec, folder / "data", folder / "raw.json")
    return {**spec, "num_shards": 2}


GOOD = [json.dumps({"text": f"{number}番の文書。"}).encode() for number in range(97)]
BAD = [b'{"text": ', b'{"text": "\xff"}', b'{"content": "x"}']


def test_a_malformed_record_stops_the_job_unless_a_share_of_them_is_allowed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spec = prepare(tmp_path, [*GOOD[:50], *BAD, *GOOD[50:]])
    with pytest.raises(TsumugiError, match=r"a\.jsonl:51: malformed JSON .* set bad_records to the share"):
        into_shards(spec, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"a.jsonl", "raw.json"}, "no half shard, no half table"
    with pytest.raises(
        TsumugiError, match=r"3 of 100 records are malformed, a share of 0.03, .* allows 0.02; .*:53: no f"
    ):
        into_shards({**spec, "bad_records": 0.02}, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"a.jsonl", "raw.json"}

    results = into_shards({**spec, "bad_records": 0.03}, tmp_path)
    assert results["rejected"] == {"malformed": 3} and results["steps"][0]["documents"] == 97
    table = pq.read_table(tmp_path / "rejected.parquet").to_pylist()
    assert [row["place"] for row in table] == ["a.jsonl:51", "a.jsonl:52", "a.jsonl:53"]
    assert [row["detail"].split(" (")[0] for row in table] == [
        "malformed JSON",
        "not UTF-8 at byte 10 of the line",
        "no field 'text'",
    ]


def test_a_document_that_is_too_large_is_refused_or_cut_and_counted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spec = prepare(tmp_path, [GOOD[0], json.dumps({"text": "長" * 100}, ensure_ascii=False).encode()])
    spec["max_document_bytes"] = 100
    assert into_shards(spec, tmp_path)["rejected"] == {"oversized": 1}
    (row,) = pq.read_table(tmp_path / "rejected.parquet").to_pylist()
    assert (row["place"], row["reason"]) == ("a.jsonl:2", "oversized") and "300 bytes" in row["detail"]

    results = into_shards({**spec, "oversized": "cut"}, tmp_path)
    assert results["rejected"] == {} and results["documents_cut"] == 1
    rows = [row for shard in (0, 1) for row in pq.read_table(tmp_path / f"raw/0000{shard}.parquet").to_pylist()]
    (cut,) = (row for row in rows if "長" in row["text"])
    assert cut["text"] == "長" * 33 and json.loads(cut["meta"]) == {
        "cut": True,
        "line": 2,
        "timestamp": None,
        "url": None,
    }


def test_a_line_beyond_all_limits_is_rejected_by_its_reader(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"text": "x" * (2 * 2**20)}) + "\n" + GOOD[0].decode())
    oversized, good = read_items("mc4", path, limit=1000)
    assert isinstance(oversized, Rejected) and "raise max_document_bytes" in str(oversized)
    assert good.text == "0番の文書。"


def test_a_document_of_cc100_that_is_too_large_is_not_held_whole(tmp_path):
    path = tmp_path / "ja.txt"
    path.write_text("あいう\n" * 10_000 + "\n次\n")
    large, small = read_items("cc100", path, limit=1000)
    assert 1000 < len(large.text.encode()) < 1100 and small.text == "次"


@pytest.mark.parametrize("limit", [97, 98, 99, 100, 101])
def test_a_long_line_of_cc100_is_never_taken_for_a_whole_document(tmp_path, limit):
    path = tmp_path / "ja.txt"
    path.write_text("長" * 1000 + "\n\n次")
    large, small = read_items("cc100", path, limit=limit)
    assert len(large.text.encode()) > limit and small.text == "次"


def test_damage_behind_the_limit_of_a_plain_text_is_noticed(tmp_path):
    whole = gzip.compress(("題\n" + "本文" * 2**20).encode())
    spec = {"format": "text", "max_document_bytes": 100, "columns": {"text": "text", "title": "title"}}
    file = RawFile(str(tmp_path / "a.txt.gz"), "a.txt.gz", None, "unknown")
    Path(file.path).write_bytes(whole)
    assert len(list(READERS["local_files"].read([file], spec))) == 1
    for damaged in (whole[:-5], whole[:-8] + bytes(8)):
        Path(file.path).write_bytes(damaged)
        with pytest.raises(TsumugiError, match=r"a\.txt\.gz: damaged or cut off"):
            list(READERS["local_files"].read([file], spec))


def test_a_document_that_ends_within_a_character_is_malformed(tmp_path):
    path = tmp_path / "ja.txt"
    path.write_bytes("良い".encode() + "長".encode()[:2] + b"\n\n" + "次".encode())
    bad, good = read_items("cc100", path)
    assert isinstance(bad, Rejected) and str(bad).startswith(f"{path}:1: not UTF-8") and good.text == "次"
