"""Livedoor news in its true form, and the thesis's cleaning and split."""

import io
import json
import random
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from corpus_samples import into_shards, read_all, read_items
from tsumugi.corpus.fetch_corpus import fetch_corpus
from tsumugi.corpus.livedoor_split import thesis_sides
from tsumugi.corpus.normalization.neologd_rules import neologd_by_rules
from tsumugi.corpus.normalize_shard import normalize_shard
from tsumugi.corpus.readers.livedoor import CATEGORIES
from tsumugi.corpus.storage.parquet import open_writer
from tsumugi.errors import TsumugiError


def make_livedoor(path, articles, extra=()):
    """An archive as it is published; ``articles``: (category, number, title, body); ``extra``: more members."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name in ("text/CHANGES.txt", "text/README.txt", *(f"text/{name}/LICENSE.txt" for name in CATEGORIES)):
            add(archive, tarfile.TarInfo(name), "条件です。\n" * 9)
        for category, number, title, body in articles:
            text = f"http://news.example/{number}/\n2012-01-01T00:00:00+0900\n{title}\n{body}"
            add(archive, tarfile.TarInfo(f"text/{category}/{category}-{number}.txt"), text)
        for member, text in extra:
            add(archive, member, text)
    return path


def add(archive, member, text):
    member.size = len(text.encode())
    archive.addfile(member, io.BytesIO(text.encode()))


def test_livedoor_articles(tmp_path):
    path = make_livedoor(
        tmp_path / "ldcc.tar.gz",
        [("smax", 7, "【特集】Ｓマートの話【後編】", "一行目\n\n二行目\n"), ("peachy", 8, "題", "")],
    )
    first, second = read_all("livedoor", path)
    assert (first.category, first.title, first.text) == ("smax", "【特集】Ｓマートの話【後編】", "一行目\n\n二行目\n")
    assert first.meta == {"url": "http://news.example/7/", "date": "2012-01-01T00:00:00+0900", "number": 1}
    assert first.source == "livedoor:text/smax/smax-7.txt" and first.licence == "CC-BY-ND-2.1-JP"
    assert (second.text, second.meta["number"]) == ("", 2)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "text/../../x.txt"])
def test_a_path_that_leads_out_of_the_archive_is_refused(tmp_path, name):
    path = make_livedoor(tmp_path / "a.tar.gz", [], [(tarfile.TarInfo(name), "x")])
    with pytest.raises(TsumugiError, match=r"a\.tar\.gz: the member '.*' leads out of the archive"):
        read_items("livedoor", path)


def test_what_is_no_article_is_rejected_with_its_place(tmp_path):
    link = tarfile.TarInfo("text/smax/smax-1.txt")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    extra = [(link, ""), (tarfile.TarInfo("text/smax/smax-2.txt"), "only\ntwo"), (tarfile.TarInfo("text/x.pdf"), "x")]
    rejected = read_items("livedoor", make_livedoor(tmp_path / "a.tar.gz", [], extra))
    assert [str(item).removeprefix(f"{tmp_path}/a.tar.gz:").partition(";")[0] for item in rejected] == [
        "text/smax/smax-1.txt: a link or device",
        "text/smax/smax-2.txt: 2 lines",
        "text/x.pdf: not an article",
    ]


def test_a_cut_archive_is_named(tmp_path):
    text = "".join(random.Random(0).choices("鳥魚虫花", k=9000))
    whole = make_livedoor(tmp_path / "a.tar.gz", [("smax", 1, "題", text)]).read_bytes()
    (tmp_path / "a.tar.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TsumugiError, match=r"a\.tar\.gz: "):
        read_items("livedoor", tmp_path / "a.tar.gz")
    (tmp_path / "a.tar.gz").write_bytes(b"no archive at all")
    with pytest.raises(TsumugiError, match=r"a\.tar\.gz: not a readable tar archive"):
        read_items("livedoor", tmp_path / "a.tar.gz")


def by_the_source(title, body):
    """Titles and bodies as the thesis's source makes them, from the description in its issue, with the plain rules."""
    title = title.strip()
    if title.startswith("【") and "】" in title:
        title = title[title.index("】") + 1 :]
    if title.endswith("】") and "【" in title:
        title = title[: title.rindex("【")]
    body = " ".join(line.strip() for line in body.split("\n")).replace("\t", " ").strip()
    return neologd_by_rules(title.replace("\t", " ")).lower(), neologd_by_rules(body).lower()


def test_the_cleaning_of_the_thesis_with_every_step_counted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    articles = [
        ("smax", 1, "【特集】ＡＢＣ 入門【後編】", "Ｘ は\n\tﾊﾞﾅﾅ　です\n\n"),
        ("smax", 2, "【速報】", "題が残らない"),
        ("peachy", 3, "本文がない", "\n \n"),
        ("peachy", 4, "中の【括弧】は残る", "Python 3.11  の話〜〜"),
    ]
    make_livedoor(tmp_path / "data/ldcc.tar.gz", articles)
    spec = {"reader": "livedoor", "files": ["data/*.tar.gz"], "licence": "unknown"}
    fetch_corpus(spec, tmp_path / "data", tmp_path / "raw.json")
    into_shards({**spec, "num_shards": 1}, tmp_path)
    spec = {"cleaning": "thesis", "normalize": "neologd", "filters": []}
    results = normalize_shard(spec, tmp_path / "sharded.json", tmp_path / "raw/00000.parquet", tmp_path / "s/0.json")
    counted = [(step["step"], step["documents"]) for step in results["results"]["steps"]]
    assert counted == [("read", 4), ("join_lines", 4), ("strip_brackets", 4), ("normalize", 4), ("lower", 4)]
    assert results["results"]["dropped"] == {"no_text": 1, "no_title": 1}
    kept = {(row["title"], row["text"]) for row in pq.read_table(tmp_path / "s/0.parquet").to_pylist()}
    assert kept == {by_the_source(title, body) for _, number, title, body in articles if number in (1, 4)}


def test_the_split_of_the_thesis_is_pythons_shuffle(tmp_path):
    count = 7334
    rows = [
        {"id": f"{number:032x}", "category": CATEGORIES[number * 7 % 9], "meta": json.dumps({"number": number})}
        for number in range(1, count + 1)
    ]
    schema = pa.schema([(name, pa.string()) for name in ("id", "category", "meta")])
    tables = [tmp_path / f"{shard}.parquet" for shard in range(3)]
    for shard, table in enumerate(tables):
        with open_writer(table, schema) as writer:
            for row in rows[shard::3]:
                writer.write(row)
    found = {"train": [], "dev": [], "test": []}
    for identifier, side, _ in thesis_sides(tables):
        found[side].append(identifier)
    assert {side: len(ids) for side, ids in found.items()} == {"train": 6601, "dev": 367, "test": 366}

    ordered = [row["id"] for category in CATEGORIES for row in rows if row["category"] == category]
    random.seed(1234)
    random.shuffle(ordered)
    n = len(ordered)
    assert found["train"] == [identifier for index, identifier in enumerate(ordered) if index < 0.9 * n]
    assert found["test"] == [identifier for index, identifier in enumerate(ordered) if index >= 0.95 * n]
