"""Near duplicates and find_leaks, against what the definition says when it is spelled out."""

import random
from itertools import combinations
from pathlib import Path

import networkx as nx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus_samples import run_to_clean, write_jsonl
from tsumugi.corpus import find_duplicates, find_leaks
from tsumugi.corpus.deduplication import jaccard, near_duplicates
from tsumugi.corpus.deduplication.disjoint_sets import find, flatten, join, join_equal, mark_singletons, singletons
from tsumugi.corpus.deduplication.minhash import CHANCE, Scheme, Texts
from tsumugi.corpus.split_corpus import split_corpus
from tsumugi.corpus.storage.corpus_reader import CleanCorpus
from tsumugi.errors import TsumugiError
from tsumugi.provenance import read_manifest

KANA = [chr(code) for code in range(0x3041, 0x3094)] + [chr(code) for code in range(0x4E00, 0x4F00)]
NEAR = {"threshold": 0.7, "ngram": 5}


def ngrams(text, n):
    letters = "".join(c for c in text if c > " " and c not in "\u3000\xa0")
    return {letters[place : place + n] for place in range(max(1, len(letters) - n + 1))}


def similarity(one, other, n=5):
    """The definition."""
    one, other = ngrams(one, n), ngrams(other, n)
    return len(one & other) / len(one | other)


def variant(text, changes, chance):
    letters = list(text)
    for _ in range(changes):
        letters[chance.randrange(len(letters))] = chance.choice(KANA)
    return "".join(letters)


def made_up(count, chance, length=200):
    """Texts, three of four of them with some characters changed in one of the others."""
    texts = ["".join(chance.choices(KANA, k=length)) for _ in range(count // 4)]
    return texts + [variant(chance.choice(texts), chance.randrange(12), chance) for _ in range(count - len(texts))]


# --- signatures ---


@settings(max_examples=60)
@given(st.lists(st.text(max_size=40), min_size=1, max_size=5), st.integers(1, 6))
def test_exact_similarity_is_that_of_the_definition(texts, n):
    column = pa.array([text.encode("utf-8", "ignore").decode() for text in texts])
    pairs = np.array(list(combinations(range(len(texts)), 2)) or [(0, 0)])
    found = jaccard.similarities(Texts.of_column(column), pairs, n)
    for (one, other), share in zip(pairs.tolist(), found.tolist(), strict=True):
        assert share == pytest.approx(similarity(column[one].as_py(), column[other].as_py(), n))


def test_the_share_of_equal_hashes_estimates_the_similarity():
    chance = random.Random(0)
    one_by_one = Scheme(5, 128, 1)  # every hash a band of its own
    errors = []
    for _ in range(200):
        text = "".join(chance.choices(KANA, k=300))
        other = variant(text, chance.randrange(1, 60), chance)
        keys = one_by_one.band_keys(pa.array([text, other]))
        errors.append((keys[0] == keys[1]).mean() - similarity(text, other))
    assert abs(np.mean(errors)) < 0.01  # 128 hashes: a standard deviation of at most 0.044 each
    assert np.std(errors) < 0.05


@pytest.mark.parametrize("threshold", [0.05, 0.3, 0.5, 0.7, 0.8, 0.9, 1.0])
def test_a_scheme_finds_pairs_at_its_threshold(threshold):
    scheme = Scheme.for_threshold(threshold, 5)
    assert scheme.bands * scheme.rows <= 128
    assert 1 - (1 - threshold**scheme.rows) ** scheme.bands >= CHANCE


def test_a_slice_of_a_column_and_odd_texts_are_signed_like_others():
    texts = ["", " ", "鳥", "鳥が飛ぶ", "a" * 50, "𠮷野家で鳥が飛ぶのを見た", "鳥が 飛\u3000ぶ"]
    scheme = Scheme.for_threshold(0.8, 5)
    whole = scheme.band_keys(pa.array(texts))
    assert (scheme.band_keys(pa.array(["前", *texts, "後"]).slice(1, len(texts))) == whole).all()
    assert (whole[0] == whole[1]).all() and (whole[3] == whole[6]).all() and (whole[2] != whole[3]).all()


# --- groups ---


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30))))
def test_joined_elements_have_their_first_as_root(pairs):
    parent = singletons(31)
    for one, other in pairs:
        join(parent, one, other)
    assert all(find(parent, element) <= element for element in range(31))
    flatten(parent)
    graph = nx.Graph(pairs)
    graph.add_nodes_from(range(31))
    for component in nx.connected_components(graph):
        assert {int(parent[element]) for element in component} == {min(component)}


def test_members_with_equal_keys_are_joined():
    parent = singletons(6)
    join_equal(parent, np.array([7, 1, 7, 2, 1], np.uint64), np.array([5, 1, 3, 0, 4], np.int32))
    flatten(parent)
    assert parent.tolist() == [0, 1, 2, 3, 1, 3]
    mark_singletons(parent)
    assert parent.tolist() == [-1, 1, -1, 3, 1, 3]


# --- over shards ---


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """600 documents with near duplicates among them, cleaned in 1 shard, and in 4 with tiny passes and files."""
    folder = tmp_path_factory.mktemp("near")
    chance = random.Random(1)
    texts = made_up(600, chance)
    for name, these in (("a", texts), ("b", texts[:20])):
        write_jsonl(folder / f"{name}.jsonl", [{"title": f"題{n}", "text": text} for n, text in enumerate(these)])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run_to_clean(Path("one"), "?.jsonl", 1, near=NEAR)
        patch.setattr(near_duplicates, "KEYS_AT_ONCE", 100)
        patch.setattr(near_duplicates, "FILE_BYTES", 20_000)
        patch.setattr(find_duplicates, "DOCUMENTS_AT_ONCE", 100)
        run_to_clean(Path("four"), "?.jsonl", 4, near=NEAR)
    return folder


def rows_of(folder, pattern):
    return [row for path in sorted(folder.glob(pattern)) for row in pq.read_table(path).to_pylist()]


def test_of_each_cluster_the_document_with_the_smallest_id_is_kept(corpus):
    texts = {row["id"]: row["text"] for row in rows_of(corpus, "one/shards/00000.parquet")}
    smallest = {}
    for identifier, text in sorted(texts.items(), reverse=True):
        smallest[text] = identifier
    graph = nx.Graph()
    graph.add_nodes_from(smallest.values())
    pairs = combinations(smallest.values(), 2)
    graph.add_edges_from(pair for pair in pairs if similarity(*map(texts.get, pair)) >= NEAR["threshold"])
    expected = {min(component) for component in nx.connected_components(graph)}
    kept = {row["id"] for row in rows_of(corpus, "one/clean/*.parquet")}
    # Two alike of a cluster of two may have no band in common: with a chance of 2 % just at the threshold.
    assert kept >= expected and len(kept - expected) <= 0.02 * len(graph)
    assert len(expected) < 0.8 * len(graph), "there are near duplicates"


def test_neither_shards_nor_passes_change_what_is_kept(corpus):
    one, four = ({row["id"] for row in rows_of(corpus, f"{name}/clean/*.parquet")} for name in ("one", "four"))
    assert one == four
    counts = [read_manifest(corpus / name / "duplicates.json")["results"] for name in ("one", "four")]
    assert counts[0] == counts[1] and counts[0]["duplicates"] == 20 and counts[0]["near_duplicates"] > 50


def test_what_is_dropped_says_what_it_is_like(corpus):
    texts = {row["id"]: row["text"] for row in rows_of(corpus, "four/shards/0000?.parquet")}
    found = rows_of(corpus, "four/duplicates/*.parquet")
    assert {row["reason"] for row in found} == {"duplicate", "near_duplicate"}
    for row in found:
        assert row["id"] > row["like_id"]
        assert row["similarity"] == pytest.approx(similarity(texts[row["id"]], texts[row["like_id"]]))
    dropped = {row["id"]: row for row in rows_of(corpus, "four/dropped/*.parquet")}
    assert {row["reason"] for row in dropped.values()} <= {"duplicate", "near_duplicate", "repeated"}
    assert {id_ for id_, row in dropped.items() if row["reason"] != "repeated"} == {row["id"] for row in found}
    detail = next(row["detail"] for row in dropped.values() if row["reason"] == "near_duplicate")
    assert "of all character n-grams in common with" in detail


def test_many_alike_are_one_cluster_and_strangers_in_their_band_stay():
    chance = random.Random(2)
    start = "".join(chance.choices(KANA, k=200))
    alike = [variant(start, 3, chance) for _ in range(200)]
    strangers = made_up(40, chance)[:10]
    column = Texts.of_column(pa.array(alike + strangers))
    parent = singletons(210)
    jaccard.join_similar(column, np.zeros(210, np.uint64), 5, 0.7, parent)  # all of them candidates
    flatten(parent)
    assert set(parent[:200].tolist()) == {0} and parent[200:].tolist() == list(range(200, 210))


def test_members_that_an_earlier_band_has_joined_take_no_place_from_strangers():
    chance = random.Random(4)
    start = "".join(chance.choices(KANA, k=200))
    texts = [variant(start, 3, chance) for _ in range(70)]
    other = "".join(chance.choices(KANA, k=200))
    column = Texts.of_column(pa.array([*texts, other, variant(other, 3, chance)]))
    parent = singletons(72)
    for keys in ([0] * 70 + [1, 2], [0] * 72):
        jaccard.join_similar(column, np.array(keys, np.uint64), 5, 0.7, parent)
    flatten(parent)
    assert parent.tolist() == [0] * 70 + [70, 70]


def test_signatures_of_others_are_refused(corpus, monkeypatch):
    monkeypatch.chdir(corpus)
    shards = [Path(f"four/shards/{number:05d}.json") for number in range(4)]
    signatures = [Path(f"four/signatures/{number:05d}.json") for number in range(4)]
    for near, those, message in (
        (NEAR, signatures[:3], "needs the signatures of all 4 shards, found 3"),
        (NEAR, signatures[::-1], "00003.json: not the signatures of four/shards/00000.json"),
        (NEAR | {"threshold": 0.6}, signatures, "00000.json: not the signatures of"),
    ):
        with pytest.raises(TsumugiError, match=message):
            find_duplicates.find_duplicates({"dedup": {"exact": True, "near": near}}, shards, those, Path("new.json"))


# --- leaks ---


def test_what_is_like_a_test_document_is_found_and_left_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(find_leaks, "TEST_BYTES", 4000)  # several blocks
    chance = random.Random(3)
    mine, others = made_up(300, chance), made_up(100, chance)
    copies = [variant(text, 4, chance) for text in others]
    answers = [f"はい、それは{number}です。" for number in range(60)]
    for name, texts in (("task", others + answers), ("own", mine + copies + answers)):
        write_jsonl(Path(f"{name}.jsonl"), [{"title": f"題{n}", "text": text} for n, text in enumerate(texts)])
        cleaned = run_to_clean(Path(f"results/corpora/{name}"), f"{name}.jsonl", 3)
        split = {"method": "hashed", "ratios": [60, 20, 20], "seed": 1, "group_by": None}
        split_corpus({"split": split}, cleaned, Path(f"results/corpora/{name}/split/manifest.json"))
    own, task = CleanCorpus("own", 3), CleanCorpus("task", 3)
    found = find_leaks.find_leaks({"leaks": NEAR}, own, [own, task], own.leaks_path.with_suffix(".json"))["results"]
    beside = find_leaks.find_leaks({"leaks": NEAR}, own, [own, task], Path("three.json"), threads=3)
    assert beside["results"] == found and Path("three.parquet").read_bytes() == own.leaks_path.read_bytes()

    texts, sides, test = {}, {}, {"own": {}, "task": {}}
    for corpus in (own, task):
        for shard in corpus.shards():
            for rows, splits in corpus.batches_with_leaks(shard, ["id", "text"]):
                for row, side in zip(rows.to_pylist(), splits.tolist(), strict=True):
                    if side == 2:
                        test[corpus.name][row["id"]] = row["text"]
                    elif corpus is own:
                        texts[row["id"]], sides[row["id"]] = row["text"], side
    expected = {
        name: {
            id_
            for id_, text in texts.items()
            if len(text) >= 20 and any(similarity(text, other) >= 0.7 for other in documents.values())
        }
        for name, documents in test.items()
    }
    assert set(answers) & set(texts.values()) & set(test["task"].values()), "short ones, too, stand on both sides"
    rows = pq.read_table(own.leaks_path).to_pylist()
    leaked = {row["id"] for row in rows}
    assert len(leaked) == len(rows) and len(leaked) >= 0.98 * len(expected["own"] | expected["task"])
    for name, ids in expected.items():
        reported = {row["id"] for row in rows if row["test_corpus"] == name}
        assert reported <= ids and len(reported) > 10
        assert found["like_test_documents_of"][name] == len(reported)
    assert found["documents"] == {
        "train": sum(sides[id_] == 0 for id_ in leaked), "dev": sum(sides[id_] == 1 for id_ in leaked)
    }  # fmt: skip
    for row in rows:
        assert row["similarity"] == pytest.approx(
            similarity(texts[row["id"]], test[row["test_corpus"]][row["test_id"]])
        )

    task.leaks_path.with_suffix(".parquet").write_bytes(own.leaks_path.read_bytes())
    used = [row["id"] for shard in own.shards() for rows, _ in own.batches(shard, ["id"]) for row in rows.to_pylist()]
    assert set(used) == (texts.keys() | test["own"].keys()) - leaked and len(used) == len(set(used))
