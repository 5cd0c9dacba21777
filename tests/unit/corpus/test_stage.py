import json
import shutil
import timeit
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus_samples import run_to_clean, write_jsonl
from tsumugi.corpus.deduplication.families import family_indices
from tsumugi.corpus.filters import build_filters, candidates
from tsumugi.corpus.filters.language import KNOWN
from tsumugi.corpus.find_leaks import find_leaks
from tsumugi.corpus.measure_overlap import Windows, measure_overlap, window_hashes
from tsumugi.corpus.normalization.clean_text import clean_text
from tsumugi.corpus.normalize_shard import normalize_shard
from tsumugi.corpus.split_corpus import SPLITS, side_of, split_corpus
from tsumugi.corpus.storage.corpus_reader import CleanCorpus
from tsumugi.corpus.summarize_corpus import summarize_corpus
from tsumugi.errors import TsumugiError
from tsumugi.provenance import identity, read_manifest, verify

NUMBERS = "零一二三四五六七八九"


def words(number):
    return "".join(NUMBERS[int(digit)] for digit in str(number))


def article(number):
    return {
        "title": f"{words(number)}の話",
        "text": f"これは{words(number)}番目の文章です。\n鳥が{words(number * 7)}羽いた。",
    }


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The whole stage on 400 documents: ten of them repeated from another source, one too short, one not Japanese."""
    folder = tmp_path_factory.mktemp("stage")
    rows = [article(number) for number in range(400)]
    write_jsonl(
        folder / "a.jsonl", [*rows, rows[0], {"title": "短", "text": "短い"}, {"title": "e", "text": "Word " * 20}]
    )
    write_jsonl(folder / "b.jsonl", [{**row, "title": "写し"} for row in rows[:10]])
    filters = [{"name": "length", "min_characters": 10, "max_characters": None}, {"name": "japanese", "min_share": 0.3}]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        cleaned = run_to_clean(Path(), "*.jsonl", 3, filters=[*filters, {"name": "title"}])
        split = {"method": "hashed", "ratios": [90, 5, 5], "seed": 1234, "group_by": None}
        split_corpus({"split": split}, cleaned, Path("split/manifest.json"))
        corpus = CleanCorpus(".", 3, Path())
        find_leaks({"leaks": {"threshold": 0.9, "ngram": 5}}, corpus, [corpus], Path("split/leaks.json"))
        measure_overlap({"window": 10}, corpus, Path("overlap.json"))
        ends = (Path("split/manifest.json"), Path("split/leaks.json"), Path("overlap.json"), Path("stats.json"))
        summarize_corpus({}, Path("raw.json"), Path("sharded.json"), cleaned, *ends)
    return folder


def ids(folder, pattern):
    return [row for path in sorted(folder.glob(pattern)) for row in pq.read_table(path).column("id").to_pylist()]


def test_every_document_is_kept_or_dropped_with_a_reason(finished):
    results = read_manifest(finished / "stats.json")["results"]
    assert results["dropped"] == {"duplicate": 10, "japanese": 1, "length": 1, "repeated": 1}
    documents = {step["step"]: step["documents"] for step in results["steps"]}
    assert documents == {
        **{"read": 413, "clean": 412, "normalize": 412, "length": 411, "japanese": 410, "title": 410, "duplicates": 400}
    }
    assert len(set(ids(finished, "clean/*.parquet"))) == 400
    assert len(ids(finished, "dropped/*.parquet")) == 13
    places = [
        json.loads(row)
        for path in finished.glob("dropped/*.parquet")
        for row in pq.read_table(path)["meta"].to_pylist()
    ]
    assert {"line": 402} in places and {"line": 403} in places, "the text that is too short, and the English one"
    assert sum(results["lengths"]["documents"]) == 400
    assert {"name": "length 1", "why": "2 characters, fewer than 10", "begins": "短い"} in results["samples"]
    assert len(results["samples"]) == 3 + 1 + 1 + 1 and results["rejected"] == {}
    assert results["files"][0]["licence"] == "CC0-1.0"


def test_splits_are_disjoint_and_complete(finished):
    sides = {name: set(ids(finished, f"split/{name}.parquet")) for name in SPLITS}
    assert not any(sides[a] & sides[b] for a, b in combinations(SPLITS, 2))
    assert set.union(*sides.values()) == set(ids(finished, "clean/*.parquet"))
    assert len(sides["train"]) > 330 and sides["dev"] and sides["test"]


def test_the_chain_of_manifests_holds(finished, monkeypatch):
    monkeypatch.chdir(finished)
    visited, problems, *_ = verify("stats.json")
    assert problems == [] and "raw.json" in visited and "sharded.json" in visited


def test_neither_shards_nor_repetition_change_what_is_kept(finished, tmp_path, monkeypatch):
    for name in ("a.jsonl", "b.jsonl"):
        shutil.copy(finished / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    filters = read_manifest(finished / "shards/00000.json")["spec"]["filters"]
    other = run_to_clean(Path("other"), "*.jsonl", 1, filters=filters)
    again = run_to_clean(Path("again"), "*.jsonl", 1, filters=filters)
    assert set(ids(tmp_path, "other/clean/*.parquet")) == set(ids(finished, "clean/*.parquet"))
    assert pq.read_table("other/clean/00000.parquet").equals(pq.read_table("again/clean/00000.parquet"))
    outputs = [list(read_manifest(path[0])["outputs"].values()) for path in (other, again)]
    assert outputs[0] == outputs[1]


def test_a_damaged_shard_is_named_and_leaves_no_output(finished, tmp_path, monkeypatch):
    monkeypatch.chdir(finished)
    damaged = tmp_path / "00000.parquet"
    content = bytearray(Path("raw/00000.parquet").read_bytes())
    content[100:400] = bytes(300)
    for broken in (bytes(content), content[: len(content) // 2], b""):
        damaged.write_bytes(broken)
        with pytest.raises(TsumugiError, match=r"00000\.parquet: not a readable Parquet file"):
            spec = {"cleaning": "plain", "normalize": "none", "filters": []}
            normalize_shard(spec, Path("sharded.json"), damaged, tmp_path / "out/00000.json")
        assert list((tmp_path / "out").iterdir()) == []


def test_an_empty_split_is_an_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_jsonl(Path("a.jsonl"), [article(1)])
    cleaned = run_to_clean(Path(), "a.jsonl", 2)
    split = {"method": "hashed", "ratios": [90, 5, 5], "seed": 0, "group_by": None}
    with pytest.raises(TsumugiError, match="no document falls to"):
        split_corpus({"split": split}, cleaned, Path("split/manifest.json"))
    assert not list(Path("split").iterdir())
    nothing = run_to_clean(Path("nothing"), "a.jsonl", 2, filters=[{"name": "length", "min_characters": 1000}])
    with pytest.raises(TsumugiError, match="nothing: no document is left; its folder dropped/ says"):
        split_corpus({"split": split}, nothing, Path("nothing/split/manifest.json"))


def test_exact_deduplication_can_be_turned_off(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_jsonl(Path("a.jsonl"), [article(1)])
    write_jsonl(Path("b.jsonl"), [article(1)])
    run_to_clean(Path(), "?.jsonl", 1, exact=False)
    assert len(ids(tmp_path, "clean/*.parquet")) == 2


@given(st.text())
def test_cleaning_is_idempotent(text):
    once = clean_text(text)
    assert clean_text(once) == once
    assert "\n\n\n" not in once and "\t" not in once and "\r" not in once


def drop_reason(by, text, title=""):
    """What a filter says of a document."""
    (document,) = candidates([text], [title])
    return by.drop_reason(document)


def test_filters_say_why():
    length, japanese, title = build_filters(
        [{"name": "length", "min_characters": 3, "max_characters": 5}, {"name": "japanese"}, {"name": "title"}]
    )
    assert drop_reason(length, "ab", "") == "2 characters, fewer than 3"
    assert drop_reason(length, "abcdef", "") == "6 characters, more than 5"
    assert drop_reason(japanese, "かなabcdefgh", "") == "0.200 of the characters are Japanese, less than 0.3"
    assert drop_reason(japanese, "漢字カナ", "") is None
    assert drop_reason(title, "x", "") == "no title" and drop_reason(title, "x", "題") is None
    with pytest.raises(TsumugiError, match="choose from: length, japanese, language, title"):
        build_filters([{"name": "lenght"}])


@pytest.mark.parametrize(
    ("section", "bad", "good", "reason"),
    [
        (
            {"name": "repeated_lines"},
            "鳥が飛ぶ\n" * 3,
            "鳥が飛ぶ\n魚が泳ぐ\n",
            "0.533 of the characters stand in repeated",
        ),
        (
            {"name": "repeated_ngrams", "n": 3},
            "あいう" * 9,
            "いろはにほへとちりぬるを",
            "0.880 of the 3-grams are repeated",
        ),
        ({"name": "symbols"}, "★☆ 鳥★", "白い鳥が、空を飛ぶ。", "0.750 of the characters are symbols, more than 0.3"),
        (
            {"name": "urls"},
            "見よ https://a.example/b?c=d",
            "鳥の話 " * 30 + "http://a.example/",
            "0.885 of the characters are addresses",
        ),
        (
            {"name": "boilerplate", "phrases": ["利用規約"]},
            "利用規約\n鳥",
            "鳥が飛ぶ",
            "0.500 of the lines are boilerplate",
        ),
        ({"name": "unreadable"}, "鳥\ufffdが\ue000", "鳥が\n飛ぶ", "0.500 of the characters are unreadable"),
        (
            {"name": "blocked_words", "words": ["悪", "悪口"], "max_count": 1},
            "悪口と悪",
            "悪口",
            "2 blocked words, more than 1: 悪, 悪口",
        ),
    ],
)
def test_each_filter_drops_what_it_is_for(section, bad, good, reason):
    (built,) = build_filters([section])
    assert drop_reason(built, bad, "").startswith(reason)
    assert drop_reason(built, good, "") is None and drop_reason(built, "", "") is None


def test_the_language_of_a_document():
    (japanese,) = build_filters([{"name": "language"}])
    page = "tori は -a や --all で、空を飛ぶ鳥をすべて数える。設定は /etc/tori.conf に書き、TORI_HOME で場所を変える。"
    english = "All the birds over the harbour are counted by this small tool. "
    chinese = "海边的鸟儿在天空中飞翔，孩子们站在沙滩上看着它们。"
    for text in (page, "きょうは晴れ。", page + english, "「你好」と彼は言った。中国語の挨拶である。", "123", ""):
        assert drop_reason(japanese, text, "") is None, text
    assert drop_reason(japanese, english, "") == "the language is en, not ja"
    assert drop_reason(japanese, chinese, "") == "the language is zh, not ja"
    assert drop_reason(japanese, "바다 위를 나는 새를 모두 세어 봅시다.", "") == "the language is ko, not ja"
    long = chinese + page * 20_000 + chinese
    assert drop_reason(japanese, long, "") is None, "neither the beginning nor the end decides alone"
    (both,) = build_filters([{"name": "language", "languages": ["ja", "zh"]}])
    assert (
        drop_reason(both, chinese, "") is None and drop_reason(both, english, "") == "the language is en, not ja or zh"
    )
    assert tuple(label for label in sorted(japanese._model.labels) if len(label) == 2) == KNOWN
    with pytest.raises(TsumugiError, match=r"filters\.0\.languages\.0: Input should be 'af', 'am', .* \(found 'xx'\)"):
        build_filters([{"name": "language", "languages": ["xx"]}])


def test_the_language_costs_the_same_however_long_the_document_is():
    (japanese,) = build_filters([{"name": "language"}])
    short, long = (
        min(timeit.repeat(lambda text=text: drop_reason(japanese, text, ""), repeat=5, number=1))
        for text in ("鳥が飛ぶ。" * 60, "鳥が飛ぶ。" * 200_000)
    )
    assert long < 100 * short, "the whole of it would cost three thousand times as much"


def test_sides_follow_the_ratios_and_the_seed():
    counts = Counter(side_of(str(number), 1234, (90, 5, 5)) for number in range(20_000))
    assert counts["train"] == pytest.approx(18_000, rel=0.02)
    assert counts["dev"] == pytest.approx(1_000, rel=0.15) and counts["test"] == pytest.approx(1_000, rel=0.15)
    assert any(side_of(str(n), 1, (90, 5, 5)) != side_of(str(n), 2, (90, 5, 5)) for n in range(100))


def sentence(number):
    digits = "".join(NUMBERS[(number * 31 + place * 7 + place * place * number) % 10] for place in range(24))
    return f"これは{words(number)}番の文で{digits}と続きます。"


def test_families_join_pages_that_share_their_text():
    texts = [
        sentence(1) + sentence(2) + sentence(3),
        sentence(4) + sentence(5),
        sentence(3) + sentence(6),  # a half of this one stands in the first
        "\n".join(sentence(n) for n in range(10, 20)) + sentence(4),  # a half of the second, a tenth of this one
        "".join(sentence(n) for n in range(20, 30)),
        "短い文。" * 40,
        "短い文。" * 40,
    ]
    assert family_indices(texts).tolist() == [0, 1, 0, 1, 4, 5, 6]
    assert family_indices([]).tolist() == []


def test_boilerplate_joins_nothing():
    shared = sentence(0)
    assert family_indices([shared + sentence(n) for n in range(1, 61)]).tolist() == list(range(60))
    assert set(family_indices([shared + sentence(n) for n in range(1, 41)]).tolist()) == {0}


def test_a_family_stays_on_one_side(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [{"title": "題", "text": sentence(n // 2) + sentence(1000 + n)} for n in range(300)]
    write_jsonl(Path("a.jsonl"), rows)
    cleaned = run_to_clean(Path(), "a.jsonl", 2)
    split = {"method": "hashed", "ratios": [80, 10, 10], "seed": 7, "group_by": "shared_text"}
    results = split_corpus({"split": split}, cleaned, Path("split/manifest.json"))["results"]
    assert results["families"] == 150 and results["largest_family"] == 2
    families = [set(pq.read_table(f"split/{name}.parquet").column("family").to_pylist()) for name in SPLITS]
    assert not any(a & b for a, b in combinations(families, 2))


@given(st.text(min_size=0, max_size=60), st.text(min_size=0, max_size=60))
def test_equal_windows_have_equal_hashes(left, right):
    window = 5
    for text in (left, left + right):
        hashes = window_hashes(text, window)
        texts = [text[i : i + window] for i in range(len(text) - window + 1)]
        assert len(hashes) == len(texts)
        assert len(set(hashes.tolist())) == len(set(texts))
    shared = set(window_hashes(left, window).tolist()) & set(window_hashes(right, window).tolist())
    expected = {left[i : i + 5] for i in range(len(left) - 4)} & {right[i : i + 5] for i in range(len(right) - 4)}
    assert len(shared) == len(expected)


def test_windows_mark_what_they_hold():
    windows = Windows(np.array([5, 1 << 63, 5, 9], np.uint64))
    windows.mark(np.array([9, 7, 6], np.uint64))
    assert windows.hashes.tolist() == [5, 9, 1 << 63] and windows.found.tolist() == [False, True, False]
    Windows(np.empty(0, np.uint64)).mark(np.array([1], np.uint64))


def test_overlap_counts_what_also_stands_in_train(finished):
    results = read_manifest(finished / "overlap.json")["results"]
    test = ids(finished, "split/test.parquet")
    table = pq.read_table(finished / "overlap.parquet")
    assert sorted(table.column("id").to_pylist()) == sorted(test)
    assert 0 < results["share"] < 1 and results["test_documents"] == len(test)
    texts = {}
    for path in finished.glob("clean/*.parquet"):
        texts.update((row["id"], row["text"]) for row in pq.read_table(path).to_pylist())
    leaks = set(ids(finished, "split/leaks.parquet"))
    train = [texts[identifier] for identifier in ids(finished, "split/train.parquet") if identifier not in leaks]
    for row in table.to_pylist():  # the definition, spelled out
        text = texts[row["id"]]
        found = [any(text[i : i + 10] in other for other in train) for i in range(len(text) - 9)]
        assert row["share"] == pytest.approx(sum(found) / len(found))


def test_the_same_inputs_give_the_same_identity(finished):
    manifest = read_manifest(finished / "stats.json")
    assert identity(manifest) == identity({**manifest, "results": {}, "execution": {}})
