"""CSV, whose fields may be quoted, and TSV, whose fields are not: as it is published, and as it goes wrong."""

from pathlib import Path

import pytest

from corpus_samples import into_shards
from tsumugi.corpus.fetch_corpus import fetch_corpus
from tsumugi.corpus.readers import READERS
from tsumugi.corpus.storage.document import Document
from tsumugi.errors import TsumugiError


def read(folder, form, content, columns=("body", "title")):
    path = folder / "raw"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    spec = {"reader": "local_files", "files": [str(path)], "format": form, "licence": "x", "max_document_bytes": 2**20}
    spec["columns"] = {"text": columns[0], "title": columns[1], "category": None}
    items = list(READERS["local_files"].read(READERS["local_files"].fetch(spec, folder, "own"), spec))
    return [(item.title, item.text) if isinstance(item, Document) else str(item) for item in items]


@pytest.mark.parametrize(
    "fields",
    [
        ("題1", '"引用で始まる本文'),
        ('"始まり', "本文"),
        ("題", '"引用"で始まる本文です'),
        ("題", '彼は"はい"と言った'),
        ("題", '"'),
        ('"', '"'),
        ('題"', '本文"'),
        ("題", '""二重""'),
        ("題", "5' 6\""),
    ],
)
def test_quotation_marks_of_a_tsv_file_are_text(tmp_path, fields):
    rows = [fields, ("題2", "二つ目の本文"), ("題3", '三つ目の本文"'), ("題4", "四つ目")]
    for end in ("\n", "\r\n", "\r"):
        assert read(tmp_path, "tsv", end.join(map("\t".join, [("title", "body"), *rows]))) == rows


def test_a_tsv_line_with_another_number_of_fields_is_a_bad_record(tmp_path):
    first, second, good = read(tmp_path, "tsv", "title\tbody\n題\t本\t文\n題\n\nよい\t本文\n")
    assert f"{tmp_path / 'raw'}:2: the number of fields is not that of the header (3, not 2)" in first
    assert f"{tmp_path / 'raw'}:3: " in second and "give a table with such fields as CSV" in second
    assert good == ("よい", "本文")


def test_a_tsv_file_whose_header_is_quoted_is_refused(tmp_path):
    """As pandas and spreadsheets write it where every field is quoted: the marks would stay in all texts."""
    with pytest.raises(TsumugiError, match=r'raw:1: the header\'s field "body" is quoted, but in a TSV file .* as CSV'):
        read(tmp_path, "tsv", 'title\t"body"\n題\t"本文"\n', ('"body"', "title"))
    assert read(tmp_path, "tsv", '"\ttitle\tbody\n1\t題\t"本文"\n') == [("題", '"本文"')]


def test_quoted_fields_of_a_csv_file_hold_what_they_like(tmp_path):
    content = 'title,body\n題,"一行目\n二行目、""引用""、a,b"\n"",5" の釘\n'
    assert read(tmp_path, "csv", content) == [("題", '一行目\n二行目、"引用"、a,b'), ("", '5" の釘')]


@pytest.mark.parametrize(
    ("lines", "opened", "seen"),
    [
        (["題1,良い", '題2,"開いた', "題3,次", '題4,"また"', "題5,後"], 3, 5),
        (["題1,良い", '題2,"開いた', "題3,次", "題4,後"], 3, 5),
        (['"二\n行",良い', '題2,"開いた', "題3,次"], 4, 5),
        (['"二\n行","開いた', "題3,次"], 3, 4),
        (['"二\n""行""","閉じて"いない', "題3,次"], 3, 3),
    ],
)
def test_a_quotation_mark_that_swallows_lines_is_named_with_the_line_where_it_opens(tmp_path, lines, opened, seen):
    with pytest.raises(TsumugiError) as caught:
        read(tmp_path, "csv", "\n".join(["title,body", *lines]) + "\n")
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'raw'}:{opened}: malformed line (") and f"up to line {seen};" in message
    assert "those in it are doubled" in message


@pytest.mark.parametrize(
    "bad",
    ['題,"引用"で始まる', "題,本,文", "題", "題,本\r文", "題,本\0文", b"\xff,\xfe"],
    ids=["quotes", "many fields", "few fields", "carriage return", "zero byte", "encoding"],
)
def test_a_bad_line_of_a_csv_file_is_named_left_out_and_counted(tmp_path, monkeypatch, bad):
    monkeypatch.chdir(tmp_path)
    bad = bad if isinstance(bad, bytes) else bad.encode()
    Path("a.csv").write_bytes("title,body\n題1,一つ目\n".encode() + bad + "\n題2,二つ目\n".encode())
    spec = {"reader": "local_files", "files": ["a.csv"], "format": "csv", "licence": "x", "num_shards": 1}
    spec["columns"] = {"text": "body", "title": "title", "category": None}
    fetch_corpus(spec, Path("data"), Path("raw.json"))
    with pytest.raises(TsumugiError, match=r"^a\.csv:3: .*set bad_records"):
        into_shards(spec, Path())
    results = into_shards({**spec, "bad_records": 0.4}, Path())
    assert results["rejected"] == {"malformed": 1} and results["steps"][0]["documents"] == 2


def test_each_line_of_a_csv_row_with_another_number_of_fields_is_a_bad_record(tmp_path):
    """One quotation mark too many can make one such row of thousands of records."""
    swallowed = [f"題{number},本文" for number in range(5)]
    rows = ["title,body", "題,良い", '題,"開いた', *swallowed, '題,閉じた",', "題,次"]
    first, *bad, last = read(tmp_path, "csv", "\n".join(rows))
    assert (first, last) == (("題", "良い"), ("題", "次")) and len(bad) == 7
    for number, message in enumerate(bad, start=3):
        assert message.startswith(f"{tmp_path / 'raw'}:{number}: in a row from line 3 to line 9, the number of fields")


@pytest.mark.parametrize("form", ["csv", "tsv"])
def test_a_wanted_column_whose_name_stands_twice_is_refused_and_another_is_not(tmp_path, form):
    separator = {"csv": ",", "tsv": "\t"}[form]
    rows = [["title", "x", "x", "", "", "body"], ["題", "1", "2", "3", "4", "本文"]]
    content = "\n".join(map(separator.join, rows))
    assert read(tmp_path, form, content) == [("題", "本文")]
    with pytest.raises(TsumugiError, match=r"raw:1: 2 columns are called 'body', .*give each its own name"):
        read(tmp_path, form, content.replace("x", "body", 1))
    assert read(tmp_path, form, content, ("body", None)) == [("", "本文")]


@pytest.mark.parametrize("form", ["csv", "tsv"])
def test_a_header_may_stand_behind_blank_lines_and_a_table_may_be_empty(tmp_path, form):
    separator = {"csv": ",", "tsv": "\t"}[form]
    assert read(tmp_path, form, "\n\ntitle,body\n\n題,本文\n\n".replace(",", separator)) == [("題", "本文")]
    assert read(tmp_path, form, "title,body\n".replace(",", separator)) == [] == read(tmp_path, form, "")
    with pytest.raises(TsumugiError, match=r"raw:1: not UTF-8 at byte 0"):
        read(tmp_path, form, "題名,本文\n".encode("cp932"))
