"""Raw files as they should not be: whatever is in them, a job names the place, or a record is rejected and counted."""

import bz2
import gzip
import io
import json
import lzma
import random
import tarfile
import time
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from corpus_samples import into_shards, write_jsonl
from tsumugi.corpus.fetch_corpus import fetch_corpus
from tsumugi.corpus.normalize_shard import normalize_shard
from tsumugi.corpus.readers import READERS, Rejected
from tsumugi.corpus.storage.document import Document
from tsumugi.corpus.storage.shard_schema import SHARD_SCHEMA
from tsumugi.errors import TsumugiError

COLUMNS = {"text": "text", "title": None, "category": None}
LOCAL = [("local_files", form) for form in ("jsonl", "csv", "tsv", "parquet", "text")]
ALL = [
    (reader, None) for reader in ("cc100", "instructions", "livedoor", "mc4", "oscar", "wikinews", "wikipedia")
] + LOCAL


def read(path, reader, form=None, limit=2**20, **columns):
    """What the reader makes of a file, and whether all that is a document can be written."""
    spec = {"reader": reader, "files": [str(path)], "licence": "x", "max_document_bytes": limit}
    spec |= {"format": form, "columns": COLUMNS | columns} if form else {}
    items = list(READERS[reader].read(READERS[reader].fetch(spec, path.parent, "own"), spec))
    rows = [item.row() for item in items if isinstance(item, Document)]
    pa.Table.from_pylist(rows, schema=SHARD_SCHEMA)
    return items


def complaint(path, *arguments, **keywords):
    """What is said about a file that holds nothing good; it begins with the file's name."""
    try:
        (*_, item) = read(path, *arguments, **keywords)
    except TsumugiError as error:
        item = error
    assert isinstance(item, TsumugiError | Rejected) and str(item).startswith(str(path)), item
    return str(item)


def line(value):
    return json.dumps(value).encode() + b"\n"


# --- another format than the reader's ---


@pytest.mark.parametrize(("reader", "form"), ALL)
@pytest.mark.parametrize("start", [b"PK\3\4", b"\x1f\x8b\x08\x00", b"\x89PNG"])
def test_what_is_of_no_format_is_named(tmp_path, reader, form, start):
    path = tmp_path / "raw"
    path.write_bytes(start + random.Random(0).randbytes(9_999))
    complaint(path, reader, form)


@pytest.mark.parametrize(("reader", "form"), ALL)
@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress], ids=["gz", "bz2", "xz"])
def test_a_file_that_is_cut_off_is_named_by_every_reader(tmp_path, reader, form, pack):
    path = tmp_path / "raw"
    packed = pack(random.Random(0).randbytes(90_000).hex().encode())
    path.write_bytes(packed[: len(packed) // 2])
    complaint(path, reader, form)


# --- JSON ---


@pytest.mark.parametrize("value", [7, True, 1.5, "x", [1], "\ud800"])
@pytest.mark.parametrize(
    ("reader", "record"),
    [
        ("oscar", lambda value: {"content": "a", "warc_headers": value}),
        ("oscar", lambda value: {"content": "a", "metadata": value}),
        ("wikipedia", lambda value: {"index": value}),
        ("instructions", lambda value: {"instruction": [value], "output": "b"}),
        ("mc4", lambda value: {"text": [value]}),
    ],
)
def test_a_field_of_another_kind_is_named(tmp_path, reader, record, value):
    path = tmp_path / "raw"
    path.write_bytes(line(record(value)))
    assert "not an object" in (said := complaint(path, reader)) or "not text" in said or "not valid Unicode" in said


@pytest.mark.parametrize(
    ("reader", "record"),
    [
        ("mc4", {"text": "a", "url": "\ud800"}),
        ("oscar", {"content": "a", "warc_headers": {"warc-target-uri": "\udfff"}}),
        ("wikipedia", {"text": "a", "title": "t", "category": ["\ud800"]}),
    ],
)
def test_half_a_character_is_named_wherever_it_stands(tmp_path, reader, record):
    path = tmp_path / "raw"
    path.write_bytes(line(record))
    assert ":1: not valid Unicode text (surrogates not allowed)" in complaint(path, reader)
    path.write_bytes(line(record).replace(b"\\ud800", b"\\ud83d\\udc26").replace(b"\\udfff", b"\\ud83d\\udc26"))
    assert isinstance(read(path, reader)[0], Document), "two halves are a bird"


@pytest.mark.parametrize("reader", ["mc4", "oscar", "wikipedia", "instructions"])
def test_a_key_that_appears_twice_in_a_json_object_is_a_bad_record(tmp_path, reader):
    """Python would take the last one, another parser the first."""
    path = tmp_path / "raw"
    good = '{"text": "a", "content": "b", "title": "t", "instruction": "i", "output": "o"}'
    for bad in (good.replace("{", '{"text": 1, "content": 2, "output": 3, '), good[:-1] + ', "url": {"x": 1, "x": 2}}'):
        path.write_text(f"{bad}\n{good}")
        rejected, document = read(path, reader)
        assert str(rejected).startswith(f"{path}:1: ") and "appears 2 times in one object" in str(rejected)
        assert isinstance(document, Document)
    path.write_text(f"[{bad}, {good}]")
    if reader == "instructions":
        rejected, document = read(path, reader)
        assert f"{path}:1: the key 'x' appears 2 times" in str(rejected) and document.text == "o"


@pytest.mark.parametrize("content", [b'{"text": ' + b"[" * 100_000, b'{"text": "a", "url": ' + b"9" * 5_000 + b"}"])
def test_json_that_is_too_much_for_the_parser_is_named(tmp_path, content):
    path = tmp_path / "raw"
    path.write_bytes(content)
    assert ":1: malformed JSON" in complaint(path, "mc4")
    path.write_bytes(b"[" + content.replace(b"text", b"output") + b"]")
    assert "record 1: malformed JSON" in complaint(path, "instructions")


# --- Parquet ---


def strings(*values, kind):
    """An Arrow array of strings with these bytes in it, whatever they are."""
    storage = {pa.large_string(): pa.large_binary(), pa.string_view(): pa.binary_view()}.get(kind, pa.binary())
    if pa.types.is_dictionary(kind):
        return pa.DictionaryArray.from_arrays(list(range(len(values))), strings(*values, kind=pa.string()))
    if pa.types.is_list(kind):
        return pa.ListArray.from_arrays(list(range(len(values) + 1)), strings(*values, kind=pa.string()))
    return pa.array(values, storage).view(kind)


STRINGS = [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int64(), pa.string())]


@pytest.mark.parametrize("kind", STRINGS, ids=str)
def test_a_string_of_a_parquet_file_that_is_not_utf8_is_a_bad_record(tmp_path, kind):
    path = tmp_path / "a.parquet"
    texts = strings("良い".encode(), b"b\xffd", "次".encode(), kind=kind)
    pq.write_table(pa.table({"text": texts, "more": strings(b"\xff", b"\xff", b"\xff", kind=kind)}), path)
    first, bad, last = read(path, "local_files", "parquet")
    assert (first.text, last.text, last.meta) == ("良い", "次", {"line": 3})
    assert str(bad) == f"{path}:2: the field 'text' is not UTF-8 at byte 1 (invalid start byte)"


@pytest.mark.parametrize(
    "column",
    [
        strings(b"\xff", b"a", kind=pa.list_(pa.string())),
        pa.array([2**62, None], pa.timestamp("us")),
        pa.array([[1], None]),
        pa.array([b"\xff", b""]),
    ],
    ids=["list", "timestamp", "numbers", "bytes"],
)
def test_a_column_that_is_no_text_is_named(tmp_path, column):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["a", "b"], "title": column}), path)
    bad, _ = read(path, "local_files", "parquet", title="title")
    assert f"{path}:1: the field 'title' " in str(bad)


def test_a_wanted_column_of_a_parquet_file_whose_name_stands_twice_is_refused(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_arrays([pa.array(["a"])] * 3, names=["x", "text", "x"]), path)
    assert read(path, "local_files", "parquet")[0].text == "a"
    pq.write_table(pa.Table.from_arrays([pa.array(["a"])] * 3, names=["x", "text", "text"]), path)
    with pytest.raises(TsumugiError, match=r"a\.parquet: 2 columns are called 'text', .*\(it has: x, text, text\)"):
        read(path, "local_files", "parquet")


@pytest.mark.parametrize("rows", [(3, 3), (3, 50), (50, 3), (0, 3), (3, 0)])
def test_several_parquet_files_in_one_are_refused(tmp_path, rows):
    """The footer of the last one says where its data lie, counted from its own beginning: that is in the first one."""
    path, joined = tmp_path / "a.parquet", b""
    for number, count in enumerate(rows):
        texts = pa.array([f"{number}の{row}番" for row in range(count)], pa.string())
        pq.write_table(pa.table({"text": texts}), path, row_group_size=2, write_page_index=True)
        joined += path.read_bytes()
        assert len(read(path, "local_files", "parquet")) == count
    path.write_bytes(joined)
    with pytest.raises(
        TsumugiError, match=r"a\.parquet: .*(holds several Parquet files|damaged|not a readable Parquet file)"
    ):
        read(path, "local_files", "parquet")


# --- XML ---


@pytest.mark.parametrize(
    ("page", "missing"),
    [
        ("<ns>0</ns><id>1</id>", "title"),
        ("<title>t</title><id>1</id>", "ns"),
        ("<title>t</title><ns>0</ns><revision><id>1</id></revision>", "id"),
        ("<title>t</title><ns>0</ns><id>x</id>", "id"),
        ("", "title, ns, id"),
    ],
)
def test_a_page_without_a_field_is_rejected_and_the_next_is_read(tmp_path, page, missing):
    path = tmp_path / "a.xml"
    good = "<page><title>題</title><ns>0</ns><id>2</id><revision><text>本文。</text></revision></page>"
    path.write_text(f"<mediawiki>\n<page>{page}</page>\n{good}</mediawiki>")
    rejected, document = read(path, "wikipedia")
    assert str(rejected) == f"{path}:2: a page without {missing}" and document.title == "題"


def test_xml_that_is_not_utf8_is_named(tmp_path):
    path = tmp_path / "a.xml"
    path.write_bytes(b"<mediawiki><page><title>\xff</title></page></mediawiki>")
    assert "malformed XML" in complaint(path, "wikipedia")


# --- tar ---


def livedoor(path, articles=30):
    with tarfile.open(path, "w") as archive:
        for number in range(articles):
            member = tarfile.TarInfo(f"text/smax/smax-{number}.txt")
            text = f"u\nd\n題{number}\n".encode() + b"x" * 700
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text))
    return path.read_bytes()


MEMBER = 3 * tarfile.BLOCKSIZE


@pytest.mark.parametrize(
    "end",
    [
        pytest.param(10 * MEMBER, id="between two members"),
        pytest.param(10 * MEMBER + 100, id="in a header"),
        pytest.param(10 * MEMBER + 800, id="in an article"),
        pytest.param(30 * MEMBER, id="before the end mark"),
    ],
)
def test_an_archive_without_compression_that_is_cut_off_is_named(tmp_path, end):
    path = tmp_path / "ldcc.tar"
    whole = livedoor(path)
    assert len(read(path, "livedoor")) == 30
    path.write_bytes(whole[:end])
    complaint(path, "livedoor")


@pytest.mark.parametrize("member", [0, 10, 29])
def test_a_damaged_header_is_not_taken_for_the_end(tmp_path, member):
    path = tmp_path / "ldcc.tar"
    whole = bytearray(livedoor(path))
    whole[member * MEMBER] ^= 1
    path.write_bytes(whole)
    complaint(path, "livedoor")


def test_an_article_that_is_not_utf8_is_rejected(tmp_path):
    path = tmp_path / "ldcc.tar"
    path.write_bytes(livedoor(path, 2).replace("題0".encode(), b"\xff\xff\xff0"))
    rejected, document = read(path, "livedoor")
    assert str(rejected).startswith(f"{path}:text/smax/smax-0.txt: not UTF-8 at byte 4") and document.title == "題1"


# --- too large ---


@pytest.mark.parametrize("form", ["csv", "tsv", "text", "jsonl"])
def test_a_huge_line_of_ones_own_file_takes_little_memory(tmp_path, form):
    path = tmp_path / "raw"
    with path.open("wb") as file:
        file.write(b"text\n")
        for _ in range(64):
            file.write(b"x" * 2**20)
    tracemalloc.start()
    if form == "text":
        (document,) = read(path, "local_files", form)
        assert document.text.startswith("text\nxxx") and len(document.text) > 2**20, "so that it shows"
    else:
        assert f"{path}:2: " in (said := complaint(path, "local_files", form)) and "raise max_document_bytes" in said
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 32 * 2**20


def test_a_title_that_does_not_end_is_rejected(tmp_path):
    path = tmp_path / "raw"
    path.write_text("長" * 500_000 + "\n本文。")
    (rejected,) = read(path, "local_files", "text", limit=1_000_000, title="title")
    assert rejected.reason == "oversized" and "set columns.title to null" in str(rejected)
    (document,) = read(path, "local_files", "text", limit=2_000_000, title="title")
    assert (len(document.title), document.text) == (500_000, "本文。")


@pytest.mark.parametrize("limit", range(8, 14))
def test_a_long_text_is_never_taken_for_a_whole_one(tmp_path, limit):
    path = tmp_path / "raw"
    path.write_text("題\n\n" + "長い\n\n\n\n" * 9)
    (document,) = read(path, "local_files", "text", limit=limit, title="title")
    assert document.title == "題" and len(document.text.encode()) > limit


def test_a_quote_that_does_not_end_is_named(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b'text\n"' + b"birds\n" * 1_000_000)
    assert "malformed line (field larger than field limit" in complaint(path, "local_files", "csv")


def test_ones_own_files_may_be_compressed(tmp_path):
    for form, content in {
        "csv": "text\n鳥が飛ぶ。\n",
        "text": "鳥が飛ぶ。\n",
        "jsonl": '{"text": "鳥が飛ぶ。"}\n',
    }.items():
        (tmp_path / "raw.xz").write_bytes(lzma.compress(content.encode()))
        (document,) = read(tmp_path / "raw.xz", "local_files", form)
        assert document.text == "鳥が飛ぶ。"


# --- empty, changed ---


def test_empty_documents_are_dropped_and_counted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_jsonl(Path("a.jsonl"), [{"text": text} for text in ("", " \n\u3000", "\0\ufeff", "鳥が飛ぶ。")])
    spec = {"reader": "mc4", "files": ["a.jsonl"], "licence": "x"}
    fetch_corpus(spec, Path("data"), Path("raw.json"))
    assert into_shards({**spec, "num_shards": 1}, Path())["steps"][0]["documents"] == 4
    spec = {"cleaning": "plain", "normalize": "neologd", "filters": []}
    results = normalize_shard(spec, Path("sharded.json"), Path("raw/00000.parquet"), Path("s/0.json"))["results"]
    assert results["dropped"] == {"no_text": 3}
    assert pq.read_table("s/0.parquet").column("text").to_pylist() == ["鳥が飛ぶ。"]


def test_a_file_without_a_document_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a.jsonl").touch()
    spec = {"reader": "mc4", "files": ["a.jsonl"], "licence": "x", "num_shards": 1}
    fetch_corpus(spec, Path("data"), Path("raw.json"))
    with pytest.raises(TsumugiError, match=r"a\.jsonl: no document was found"):
        into_shards(spec, Path())
    assert {path.name for path in tmp_path.iterdir()} == {"a.jsonl", "raw.json"}


def test_a_file_that_changed_since_it_was_recorded_is_refused_though_it_has_the_same_size(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write_jsonl(Path("a.jsonl"), [{"text": "鳥が飛ぶ。"}])
    spec = {"reader": "mc4", "files": ["a.jsonl"], "licence": "x", "num_shards": 1}
    fetch_corpus(spec, Path("data"), Path("raw.json"))
    content = path.read_text()
    time.sleep(0.05)  # the clock of a file system ticks slowly
    path.write_text(content)
    assert into_shards(spec, Path())["steps"][0]["documents"] == 1, "touched, but the same"
    path.write_text(content.replace("鳥", "魚"))
    with pytest.raises(TsumugiError, match=r"a\.jsonl: has another content than when raw\.json was written"):
        into_shards(spec, Path())
