"""Text formats take UTF-8 text: no other encoding and no container passes as text, packed or not."""

import bz2
import gzip
import io
import json
import lzma
import pickle
import re
import sqlite3
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from corpus_samples import into_shards, make_deb, write_jsonl
from tsumugi.corpus.fetch_corpus import fetch_corpus
from tsumugi.corpus.readers import READERS, RawFile
from tsumugi.corpus.storage.encodings import foreign_encoding
from tsumugi.corpus.storage.file_kinds import why_no_text
from tsumugi.corpus.storage.streams import BLOCK_BYTES, open_text
from tsumugi.errors import TsumugiError

TITLE, BODY = "題名", "本文です。\n次の段落です。"
COLUMNS = {"text": "text", "title": "title", "category": None}
LINES = {
    "jsonl": lambda title, body: json.dumps({"title": title, "text": body}, ensure_ascii=False) + "\n",
    "csv": lambda title, body: f'title,text\n{title},"{body}"\n',
    "tsv": lambda title, body: f"title\ttext\n{title}\t{body.replace(chr(10), '')}\n",
    "text": lambda title, body: f"{title}\n{body}\n",
    "cc100": lambda title, body: f"{title}\n{body}\n\n",
    "mc4": lambda title, body: json.dumps({"text": title + body}, ensure_ascii=False) + "\n",
    "oscar": lambda title, body: json.dumps({"content": title + body}, ensure_ascii=False) + "\n",
    "instructions": lambda title, body: json.dumps([{"instruction": title, "output": body}], ensure_ascii=False),
    "wikipedia": lambda title, body: (
        f"<mediawiki><page><title>{title}</title><ns>0</ns><id>1</id>"
        f"<revision><text>{body}</text></revision></page></mediawiki>"
    ),
}
ENCODINGS = ["iso2022_jp", "iso2022_jp_2", "iso2022_jp_2004", "iso2022_jp_ext", "cp932", "euc_jp", "utf-7"]
WIDE = ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]


def make_shards(folder, form, content, bad_records=0.0):
    """The whole job, as the command line runs it: the texts of the documents."""
    name = "a.raw"
    (folder / name).write_bytes(content)
    local = form in ("jsonl", "csv", "tsv", "text", "parquet")
    spec = {"reader": "local_files" if local else form, "files": [name], "licence": "x", "num_shards": 1}
    spec |= {"format": form, "columns": COLUMNS} if local else {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        fetch_corpus(spec, Path("data"), Path("raw.json"))
        results = into_shards({**spec, "bad_records": bad_records}, Path())
        return pq.read_table("raw/00000.parquet")["text"].to_pylist(), results


def refused(folder, form, content, **settings):
    with pytest.raises(TsumugiError) as caught:
        make_shards(folder, form, content, **settings)
    return str(caught.value)


@pytest.mark.parametrize("form", LINES)
def test_utf8_is_read_with_and_without_a_byte_order_mark(tmp_path, form):
    content = LINES[form](TITLE, BODY)
    plain, _ = make_shards(tmp_path, form, content.encode())
    assert plain and make_shards(tmp_path, form, content.encode("utf-8-sig"))[0] == plain


@pytest.mark.parametrize("form", LINES)
@pytest.mark.parametrize("encoding", ENCODINGS + WIDE)
def test_a_foreign_encoding_is_refused_by_every_reader(tmp_path, form, encoding):
    """Also where bad records may be left out: half of these files would look good."""
    message = refused(tmp_path, form, LINES[form](TITLE, BODY).encode(encoding), bad_records=0.5)
    xml = r"PCDATA invalid Char value 27|Invalid bytes in character encoding"
    wanted = rf"iconv|malformed JSON \(Invalid control character|malformed XML \(({xml})"
    assert re.search(rf"a\.raw.*({wanted})", message)


@pytest.mark.parametrize("form", ["jsonl", "csv", "tsv", "text", "cc100"])
def test_a_foreign_encoding_is_noticed_behind_a_compression(tmp_path, form):
    assert "a.raw" in refused(tmp_path, form, gzip.compress(LINES[form](TITLE, BODY).encode("iso2022_jp")))
    assert "UTF-16" in refused(tmp_path, form, lzma.compress(LINES[form](TITLE, BODY).encode("utf-16")))


FOREIGN = [
    *("\x1b$BK\\J8\x1b(B", "\x1b$@K\\J8\x1b(J", "\x1b(I6E\x1b(B", "\x1b$(DK\\", "\x1b$(O./", "\x1b$)C\x0e=D\x0f"),
    *("x\x1b$A1>\x1b(B", "\x0e6E=\x0f", "+Zyxlh3BnMFkwAg", "a +MEIwRA- b", "+ZyxlhwBcMGcwWQ-n"),
]
ORDINARY = [
    *("", "普通の文です。", "a + b = c+d-e", "https://a.example/?q=x+y+zzz-1", "\x1b[31m赤\x1b(B\x1b[m", "C++17 +1-"),
    *("+81-3-1234", "data:image/png;base64,iVBORw0KGgo+AAAA+zz9-", "1+2=3 +aGVsbG8-", "\x1bABC", "+Zyxlh-"),
]


@pytest.mark.parametrize("text", FOREIGN)
def test_every_form_of_iso_2022_and_utf7_is_known(text):
    assert foreign_encoding(text)


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_is_in_no_foreign_encoding(text):
    assert foreign_encoding(text) is None


def test_escapes_of_iso_2022_that_json_or_parquet_bring_in_are_rejected_and_counted(tmp_path):
    rows = [{"title": "題", "text": text} for text in ("\x1b$BK\\J8\x1b(B", "本文です。", "次です。")]
    write_jsonl(tmp_path / "good.jsonl", rows)
    content = (tmp_path / "good.jsonl").read_bytes()
    assert "a.raw:1: in ISO-2022-JP, not UTF-8; convert" in refused(tmp_path, "jsonl", content)
    texts, results = make_shards(tmp_path, "jsonl", content, bad_records=0.4)
    assert sorted(texts) == sorted(["本文です。", "次です。"]) and results["rejected"] == {"malformed": 1}
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    assert "a.raw:1: in ISO-2022-JP" in refused(tmp_path, "parquet", (tmp_path / "a.parquet").read_bytes())


# --- containers ---


def tar(content, format=tarfile.GNU_FORMAT):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as archive:
        for name in ("a.txt", "b.txt"):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def old_tar(content):
    """As before POSIX: without the mark ``ustar``."""
    data = bytearray(tar(content))
    data[257:265] = bytes(8)
    data[148:156] = b" " * 8
    data[148:156] = f"{sum(data[:512]):06o}\0 ".encode()
    return bytes(data)


def stored_zip(content):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("a.txt", content)
    return buffer.getvalue()


def database(content):
    connection = sqlite3.connect(":memory:")
    connection.execute("create table t (a)")
    connection.execute("insert into t values (?)", (content.decode(),))
    return connection.serialize()


def parquet(content):
    buffer = io.BytesIO()
    pq.write_table(pa.table({"text": [content.decode()] * 9}), buffer, compression="none")
    return buffer.getvalue()


def arrow(content):
    buffer = io.BytesIO()
    table = pa.table({"text": [content.decode()]})
    with pa.ipc.new_stream(buffer, table.schema) as stream:
        stream.write_table(table)
    return buffer.getvalue()


CONTAINERS = {
    "tar": tar,
    "pax": lambda content: tar(content, tarfile.PAX_FORMAT),
    "tar without ustar": old_tar,
    "zip": stored_zip,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "lzma": lambda content: lzma.compress(content, lzma.FORMAT_ALONE),
    "7z": lambda content: b"7z\xbc\xaf\x27\x1c" + content,
    "rar": lambda content: b"Rar!\x1a\x07\x01" + content,
    "warc": lambda content: b"WARC/1.0\r\nWARC-Type: response\r\n\r\n" + content,
    "ar": lambda content: b"!<arch>\na.txt/          0           0     0     644     9         `\n" + content,
    "cpio": lambda content: b"070701" + b"0" * 104 + b"a.txt\0" + content,
    "pdf": lambda content: b"%PDF-1.4\n" + content,
    "rtf": lambda content: b"{\\rtf1\\ansi\n" + content,
    "sqlite": database,
    "pickle": lambda content: pickle.dumps([content.decode()]),
    "pickle in ASCII": lambda content: pickle.dumps([content.decode()], protocol=0),
    "parquet": parquet,
    "arrow": arrow,
    "disk image": lambda content: bytes(2048) + content,
}


DOCUMENTS = {"pdf", "rtf", "sqlite", "pickle", "pickle in ASCII", "parquet", "arrow"}  # where there are no files in it


@pytest.mark.parametrize("form", ["jsonl", "csv", "tsv", "text", "cc100", "instructions", "wikipedia"])
@pytest.mark.parametrize("container", CONTAINERS)
def test_a_container_is_no_text(tmp_path, form, container):
    """In each, whole lines stand that are good records: to leave out the others would lose some without a word."""
    packed = CONTAINERS[container]((LINES[form](TITLE, BODY) * 9).encode())
    for content in (gzip.compress(packed), packed):  # the last one compressed once is no container, but the compression
        if content is packed and container in ("gzip", "bzip2", "xz"):
            continue
        message = refused(tmp_path, form, content, bad_records=0.9)
        advice = "the text in it" if container in DOCUMENTS else "unpack it"
        assert "a.raw" in message and (advice in message or "begins with" in message or "zero bytes" in message)


@pytest.mark.parametrize(
    "start",
    ["PK", "PAR1 は券の番号", "BZh", "BZh9 の話", "Rar", "MZ", "GIF", "7z", "ORC", "II*", "Objekt", "070701", "(l"],
)
def test_a_text_may_begin_as_a_container_nearly_does(tmp_path, start):
    content = f"{start}\n本文です。\n".encode()
    assert why_no_text(content) is None
    assert make_shards(tmp_path, "text", content)[0] == ["本文です。"]


def test_one_container_among_text_files_is_a_bad_record(tmp_path):
    for number in range(9):
        (tmp_path / f"{number}.txt").write_text(f"題\n{number}番の本文です。")
    (tmp_path / "9.txt").write_bytes(tar(b"x"))
    spec = {"reader": "local_files", "format": "text", "files": ["*.txt"], "licence": "x", "num_shards": 1}
    spec |= {"columns": COLUMNS, "bad_records": 0.1}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        fetch_corpus(spec, Path("data"), Path("raw.json"))
        assert into_shards(spec, Path())["rejected"] == {"malformed": 1}
        assert pq.read_table("rejected.parquet")["place"].to_pylist() == ["9.txt"]


@pytest.mark.parametrize("form", ["jsonl", "csv", "tsv", "cc100"])
def test_a_zero_byte_is_a_bad_record(tmp_path, form):
    lines = {
        "jsonl": b'{"text": "a\0", "title": ""}\n{"text": "b", "title": ""}\n',
        "csv": b"text,title\na\0,\nb,\n",
        "tsv": b"text\ttitle\na\0\t\nb\t\n",
        "cc100": b"a\0\n\nb\n",
    }
    assert "a.raw:" in refused(tmp_path, form, lines[form])
    texts, results = make_shards(tmp_path, form, lines[form], bad_records=0.5)
    assert texts == ["b"] and results["rejected"] == {"malformed": 1}


def test_members_of_archives_are_looked_at_too(tmp_path):
    inner = tar("u\nd\n題\n本文".encode())
    with tarfile.open(tmp_path / "ldcc.tar", "w") as archive:
        for number, content in enumerate((inner, "u\nd\n題\n本文".encode())):
            member = tarfile.TarInfo(f"text/smax/smax-{number}.txt")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    spec = {"max_document_bytes": 2**20}
    bad, _ = READERS["livedoor"].read([RawFile(str(tmp_path / "ldcc.tar"), "x", None, "x")], spec)
    assert "smax-0.txt: is a tar archive, not text" in str(bad)
    page = gzip.compress(gzip.compress(".SH 説明\n鳥".encode()))
    deb = make_deb(tmp_path / "a_1_all.deb", "a", {"usr/share/man/ja/man1/a.1.gz": page})
    with pytest.raises(TsumugiError, match=r"man1/a\.1\.gz: .*is gzip data, not text"):
        list(READERS["debian_docs"].read([RawFile(str(deb), "a", "1", "x")], {}))


# --- line ends ---


@pytest.mark.parametrize("form", ["jsonl", "csv", "tsv", "text", "cc100"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_lines_may_end_with_a_carriage_return_alone(tmp_path, form, pack):
    content = (LINES[form](TITLE, "一行だけの本文です。") * 2).encode()
    expected = make_shards(tmp_path, form, content)[0] if form in ("jsonl", "text", "cc100") else None
    texts, _ = make_shards(tmp_path, form, pack(content.replace(b"\n", b"\r")))
    assert texts == expected if expected else "一行だけの本文です。" in texts


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
@pytest.mark.parametrize("body", ["本文", "本文\r次\n", "本文\n次\r", "\r本文\n"])
def test_the_title_of_a_plain_text_ends_at_a_line_end_of_any_kind(tmp_path, end, body):
    path = tmp_path / "a.raw"
    path.write_bytes(f"題{end}{body}".encode())
    spec = {"format": "text", "columns": COLUMNS, "max_document_bytes": 2**20}
    (document,) = READERS["local_files"].read([RawFile(str(path), "x", None, "x")], spec)
    assert document.title == "題" and document.text.split() == body.split()


def test_a_carriage_return_among_line_feeds_stays(tmp_path):
    (tmp_path / "raw").write_bytes(b"a\rb\n" + b"c\r\n" * BLOCK_BYTES)
    with open_text(tmp_path / "raw") as stream:
        assert stream.read(8) == b"a\rb\nc\r\nc"
