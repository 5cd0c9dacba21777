import gzip
import hashlib
import random
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus_samples import HELP_PAGE, MAN_PAGE, MDOC_PAGE, birds_package, make_deb, write_jsonl
from tsumugi.corpus.extract.libreoffice import extract_help_page
from tsumugi.corpus.extract.manpage import extract_manual_page
from tsumugi.corpus.extract.roff_escapes import unescape
from tsumugi.corpus.fetch_corpus import fetch_corpus, recorded_files
from tsumugi.corpus.readers import READERS, RawFile, strict
from tsumugi.errors import TsumugiError


def test_man_page():
    page = extract_manual_page(MAN_PAGE.encode(), "kamome.1.gz")
    assert page.title == "kamome - 海辺の鳥を数える"
    assert page.text.split("\n") == [
        "説明",
        "kamome は、港に集まる鳥の数を数えて表示する。",
        "-a, --all",
        "すべての鳥を数える。",
        "・ 白い鳥だけを選ぶこともできる。",
        "名前、意味",
        "kamome、海の鳥",
    ]


def test_mdoc_page():
    page = extract_manual_page(MDOC_PAGE.encode(), "tsubame.1.gz")
    assert page.title == "tsubame - 渡り鳥を見張る"
    assert page.text.split("\n") == [
        "解説",
        "tsubame は -a と [場所] を受け取る。詳しくは tori(7), “鳥の本” を見よ。",
        "-v 水準",
        "見張りの様子を細かく表示する。",
    ]


def test_macros_strings_and_conditions_of_a_page():
    source = '.de Xx\n.B "鳥は\\\\$1"\n..\n.ds To 空\n.SH 説明\n.Xx 飛ぶ。\n\\*(To を見る。\n.if t 紙だけの文。\n'
    source += ".ie n 画面の文。\n.el 紙の文。\n.ig\n消える文。\n..\n"
    assert extract_manual_page(source.encode(), "a.1.gz").text == "説明\n鳥は飛ぶ。空を見る。画面の文。"


def test_a_redirection_is_no_page():
    assert extract_manual_page(b".so man1/kamome.1\n", "umineko.1.gz") is None


@given(st.text())
def test_no_page_breaks_the_extractors(text):
    unescape(text)
    source = f".SH 名前\n{text}\n.SH 説明\n{text}".encode("utf-8", "replace")
    extract_manual_page(source, "a.1.gz")
    extract_manual_page(b".Sh X\n" + source, "a.1.gz")


def test_help_page():
    page = extract_help_page(HELP_PAGE.encode())
    assert page.title == "表の並べ替え"
    assert page.text.split("\n") == ["選んだ列を値の順に並べ替えます。", "手順", "列を選び、キーを押します。"]


def test_debian_package_is_found_read_and_recorded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    deb = birds_package(Path("data/birds"))
    pins = {deb.name: hashlib.sha256(deb.read_bytes()).hexdigest()}
    spec = {"reader": "debian_docs", "packages": ["birds"], "sha256": pins}
    manifest = fetch_corpus(spec, Path("data/birds"), Path("raw.json"))
    (file,) = manifest["results"]["files"]
    assert (file["name"], file["version"], file["bytes"]) == ("birds", "1.0-1", deb.stat().st_size)
    assert manifest["outputs"][str(deb)]["sha256"] == pins[deb.name]
    documents = list(READERS["debian_docs"].read(recorded_files("raw.json"), spec))
    assert [(d.category, d.title, d.licence) for d in documents] == [
        ("man1", "kamome - 海辺の鳥を数える", "various, DFSG-free (see package copyright)"),
        ("man1", "tsubame - 渡り鳥を見張る", "various, DFSG-free (see package copyright)"),
        ("scalc", "表の並べ替え", "MPL-2.0"),
    ]
    assert documents[0].source == "birds:usr/share/man/ja/man1/kamome.1.gz"
    assert len({d.id for d in documents}) == 3


def test_another_hash_than_the_pinned_one_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    deb = birds_package(Path("data/birds"))
    spec = {"reader": "debian_docs", "packages": ["birds"], "sha256": {deb.name: "0" * 64}}
    with pytest.raises(TsumugiError, match=r"corpora\.birds\.sha256 pins 000"):
        fetch_corpus(spec, Path("data/birds"), Path("raw.json"))
    spec["sha256"] = {"birds_0.9_all.deb": "0" * 64}
    with pytest.raises(TsumugiError, match=r"birds_0\.9_all\.deb is pinned, but the files are birds_1\.0-1_all\.deb"):
        fetch_corpus(spec, Path("data/birds"), Path("raw.json"))
    assert not Path("raw.json").exists()


def test_without_apt_get_the_message_says_what_to_set(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TsumugiError) as caught:
        fetch_corpus({"reader": "debian_docs", "packages": ["birds"]}, tmp_path / "birds", tmp_path / "raw.json")
    for key in ("corpora.birds.reader: local_files", "files", "format", "columns"):
        assert key in str(caught.value)


def test_damaged_packages_are_named(tmp_path):
    whole = birds_package(tmp_path / "whole").read_bytes()
    cut = tmp_path / "birds_1.0-1_all.deb"
    cut.write_bytes(whole[: len(whole) - 300])
    with pytest.raises(TsumugiError, match=r"birds_1\.0-1_all\.deb"):
        list(READERS["debian_docs"].read([RawFile(str(cut), "birds", "1", "x")], {}))
    cut.write_bytes(b"not a package")
    spec = {"reader": "debian_docs", "packages": ["birds"]}
    with pytest.raises(TsumugiError, match=r"birds_1\.0-1_all\.deb: not a readable Debian package"):
        fetch_corpus(spec, tmp_path, tmp_path / "raw.json")


@pytest.mark.parametrize("compression", ["xz", "gz", "bz2", ""])
def test_one_flipped_byte_never_loses_a_document_silently(tmp_path, compression):
    chosen = random.Random(0)
    pages = {  # random letters: they do not compress, so that the pages fill the archive
        f"usr/share/man/ja/man1/p{n}.1": f".SH 説明\n{''.join(chosen.choices('あいうえおかきくけこ', k=400))}".encode()
        for n in range(20)
    }
    path = make_deb(tmp_path / "a_1_all.deb", "a", pages, compression=compression)
    whole = path.read_bytes()

    def titles():
        return [d.source for d in READERS["debian_docs"].read([RawFile(str(path), "a", "1", "x")], {})]

    expected, refused = titles(), 0
    assert len(expected) == 20
    start = whole.index(b"data.tar") + 60  # behind the header of the ar member
    for position in range(start, len(whole), (len(whole) - start) // 60):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x10]) + whole[position + 1 :])
        try:
            found = titles()
        except TsumugiError as error:
            assert str(error).startswith(f"{path}: ")
            refused += 1
        else:
            assert len(found) == len(expected), f"byte {position}"  # tar has a sum over its headers, none over the text
    assert refused >= (40 if compression else 1)


def test_a_damaged_tar_header_is_not_taken_for_the_end(tmp_path):
    page = ".SH 説明\n海の鳥の説明です。".encode()
    pages = {f"usr/share/man/ja/man1/p{number}.1": page for number in range(4)}
    path = make_deb(tmp_path / "a_1_all.deb", "a", pages, compression="")
    path.write_bytes(path.read_bytes().replace(b"man1/p2.1", b"man1/p9.1"))
    with pytest.raises(TsumugiError, match=r"damaged after usr/share/man/ja/man1/p1\.1"):
        list(READERS["debian_docs"].read([RawFile(str(path), "a", "1", "x")], {}))


@pytest.mark.parametrize("page", [b"", b" \n", b"<!-- nothing -->"])
def test_an_empty_help_page_is_passed_over_and_counted(tmp_path, capsys, page):
    folder = "usr/share/libreoffice/help/ja/text/scalc"
    deb = make_deb(tmp_path / "a_1_all.deb", "a", {f"{folder}/a.html": page, f"{folder}/b.html": HELP_PAGE.encode()})
    (document,) = READERS["debian_docs"].read([RawFile(str(deb), "a", "1", "x")], {})
    assert document.title == "表の並べ替え"
    assert f"{deb}: passed over 1 pages without text of their own" in capsys.readouterr().out


def test_of_two_kept_versions_with_an_epoch_the_newer_counts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for version in ("4:7.10-1", "4:7.4-1"):
        make_deb(Path(f"data/a/a_{version.replace(':', '%3a')}_all.deb"), "a", {}, version=version)
    manifest = fetch_corpus({"reader": "debian_docs", "packages": ["a"]}, Path("data/a"), Path("raw.json"))
    assert [file["version"] for file in manifest["results"]["files"]] == ["4:7.10-1"]


def test_a_pin_holds_for_every_file_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_jsonl(Path("one/a.jsonl"), [{"body": "違う本文"}])
    good = write_jsonl(Path("two/a.jsonl"), [{"body": "本文"}])
    pins = {"a.jsonl": hashlib.sha256(good.read_bytes()).hexdigest()}
    spec = {"reader": "local_files", "files": ["*/a.jsonl"], "format": "jsonl", "sha256": pins}
    with pytest.raises(TsumugiError, match=r"one/a\.jsonl: its sha256 is"):
        fetch_corpus(spec, Path("data/own"), Path("raw.json"))


def test_a_page_in_another_encoding_is_named(tmp_path):
    page = gzip.compress(".SH 説明\n鳥".encode("euc-jp"))
    deb = make_deb(tmp_path / "a_1_all.deb", "a", {"usr/share/man/ja/man1/a.1.gz": page})
    with pytest.raises(TsumugiError, match=r"man1/a\.1\.gz: not UTF-8 at byte 4"):
        list(READERS["debian_docs"].read([RawFile(str(deb), "a", "1", "x")], {}))


def read_own(path, form, columns=None):
    spec = {"reader": "local_files", "files": [str(path)], "format": form, "licence": "CC0-1.0"}
    spec["columns"] = columns or {"text": "body", "title": "head", "category": "kind"}
    spec["max_document_bytes"] = 2**24
    files = READERS["local_files"].fetch(spec, Path("data/own"), "own")
    return list(strict(READERS["local_files"].read(files, spec)))


ROW = {"body": "本文です。\n二行目。", "head": "題", "kind": "鳥"}


def test_every_local_format_gives_the_same_document(tmp_path):
    write_jsonl(tmp_path / "a.jsonl", [ROW])
    (tmp_path / "a.csv").write_text('\ufeffhead,kind,body\n題,鳥,"本文です。\n二行目。"\n', encoding="utf-8")
    (tmp_path / "a.tsv").write_text("head\tkind\tbody\n題\t鳥\t本文です。二行目。\n", encoding="utf-8")
    pq.write_table(pa.Table.from_pylist([ROW]), tmp_path / "a.parquet")
    (tmp_path / "鳥").mkdir()
    (tmp_path / "鳥/a.txt").write_text("題\n本文です。\n二行目。\n", encoding="utf-8")
    paths = {"jsonl": "a.jsonl", "csv": "a.csv", "tsv": "a.tsv", "parquet": "a.parquet", "text": "鳥/*.txt"}
    for form, name in paths.items():
        (document,) = read_own(tmp_path / name, form)
        body = ROW["body"].replace("\n", "") if form == "tsv" else ROW["body"]  # which has no line breaks in a field
        assert (document.text, document.title, document.category) == (body, "題", "鳥"), form
        assert document.licence == "CC0-1.0"


@pytest.mark.parametrize(
    ("form", "content", "message"),
    [
        ("jsonl", b'{"body": "a", "head": "b", "kind": "c"}\n{"body": \n', r"own:2: malformed JSON"),
        ("jsonl", b"[1]\n", r"own:1: found a JSON list"),
        ("jsonl", b'{"body": "a"}\n', r"own:1: no field 'head' \(found: body\); set columns.title"),
        ("jsonl", b'{"body": 3, "head": "b", "kind": "c"}\n', r"own:1: the field 'body' holds int"),
        ("jsonl", b'{"body": "\\ud800", "head": "b", "kind": "c"}\n', r"own:1: not valid Unicode"),
        ("jsonl", b'\n{"body": "\xff"}\n', r"own:2: not UTF-8 at byte 10"),
        ("csv", b"head,body\nx,y\n", r"own:2: no field 'kind'"),
        ("csv", b"head,kind,body\nx,y\n", r"own:2: the number of fields is not that of the header"),
        ("csv", b'head,kind,body\nx,y,"open\n', r"own:2: malformed line"),
        ("tsv", b"head\tkind\tbody\nx\ty\t\xe3\x81\n", r"own:2: not UTF-8"),
        ("parquet", b"PAR1 no", r"own: not a readable Parquet file"),
        ("text", b"ok\n\xff", r"own:2: not UTF-8"),
    ],
)
def test_bad_records_are_named_with_their_line(tmp_path, form, content, message):
    (tmp_path / "own").write_bytes(content)
    with pytest.raises(TsumugiError, match=message):
        read_own(tmp_path / "own", form)


def test_a_pattern_without_a_match_is_an_error(tmp_path):
    with pytest.raises(TsumugiError, match=re.escape("corpora.own.files: ") + ".*matches no file"):
        read_own(tmp_path / "*.jsonl", "jsonl")


def test_a_raw_file_that_changed_since_it_was_recorded_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = write_jsonl(Path("a.jsonl"), [ROW])
    fetch_corpus({"reader": "local_files", "files": ["a.jsonl"]}, Path("data/own"), Path("raw.json"))
    own.write_text("{}\n")
    with pytest.raises(TsumugiError, match=r"a\.jsonl: has 3 bytes"):
        recorded_files("raw.json")
