"""Quality metrics on strings short enough to check by hand, and against the libraries they come from."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import _lcs_table
from sacrebleu.metrics import CHRF

from tsumugi.evaluation.content_words import content_words, share_taken_up
from tsumugi.evaluation.score_quality import METRICS, distinct, measure, repeated, score_records, summarize_quality


def record(output, reference="表計算で数式を使う方法を説明します。", title="数式を使う", target=None, **others):
    return {
        "id": "a",
        "title": title,
        "category": "help",
        "input": title,
        "reference": reference,
        "target_characters": len(reference) if target is None else target,
        "output": output,
        "tokens": 3,
        "seconds": 0.1,
        **others,
    }


def test_chrf_is_that_of_sacrebleu_on_the_scored_prefix():
    found = measure(record("表計算の数式について。", reference="表計算で数式を使う方法"), 5)
    assert found["chrf"] == CHRF(char_order=6, word_order=0).sentence_score("表計算の数", ["表計算で数"]).score
    assert measure(record("同じ文です。", reference="同じ文です。"), 100)["chrf"] == pytest.approx(100)


def test_rouge_l_by_hand():
    # longest common subsequence of あいうえ and あうえお: あうえ, so precision = recall = 3/4
    assert measure(record("あいうえ", reference="あうえお"), 10)["rouge_l"] == pytest.approx(3 / 4)
    assert measure(record("あ い\nうえ", reference="あうえ お"), 10)["rouge_l"] == pytest.approx(3 / 4)


@given(st.text("あいう", min_size=1, max_size=12), st.text("あいう", min_size=1, max_size=12))
@settings(deadline=None)
def test_rouge_l_from_the_table_of_subsequences(output, reference):
    common = _lcs_table(reference, output)[len(reference)][len(output)]
    expected = 2 * common / (len(reference) + len(output))
    assert measure(record(output, reference=reference), 12)["rouge_l"] == pytest.approx(expected)


def test_distinct_and_repetition_by_hand():
    assert distinct("ああいう", 1) == 3 / 4
    assert distinct("あいあいう", 2) == 3 / 4
    assert math.isnan(distinct("", 1))
    assert repeated("あいうえおかきく" * 2) == pytest.approx(1 / 9)  # 9 windows, the last as the first
    assert repeated("あ" * 18) == pytest.approx(10 / 11)
    assert math.isnan(repeated("短い"))


def test_content_words():
    assert content_words("数式を使って計算する") == {"数式", "使う", "計算"}
    assert content_words("LibreOffice Calcのマクロ") >= {"libreoffice", "calc"}
    assert "printf_unlocked" in content_words("printf_unlocked(3) の説明。")
    assert content_words("3 を、") == set()
    assert share_taken_up("数式を使う", "計算に使った。") == 0.5
    assert share_taken_up("printf(3)", "関数 Printf について") == 1.0
    assert share_taken_up("printf", "snprintf だけ") == 0.0
    assert math.isnan(share_taken_up("…", "本文"))


def test_lengths_and_ceilings():
    found = measure(record("あ" * 6, reference="数式を使う" * 4, target=12), 5)
    assert found["length_ratio"] == 0.5
    assert found["title_uptake"] == 0.0
    assert found["title_uptake_reference"] == 1.0
    assert found["distinct_1"] == 1 / 5


@pytest.mark.parametrize("output", ["", " \n "])
def test_empty_outputs_count_and_do_not_crash(output):
    found = measure(record(output), 10)
    assert found["empty"] == 1.0
    assert found["chrf"] == found["rouge_l"] == found["title_uptake"] == found["length_ratio"] == 0.0
    assert math.isnan(found["distinct_1"])
    assert math.isnan(found["repeated_8grams"])


def test_empty_references_and_titles_do_not_crash():
    found = measure(record("何か", reference="", title=""), 10)
    assert found["chrf"] == found["rouge_l"] == 0.0
    assert math.isnan(found["length_ratio"])


def test_a_row_a_document_and_an_interval_a_metric():
    table = score_records([record("数式の計算。"), record("", id="b", category=None), record("使う", id="c")], 20)
    assert table["id"].to_pylist() == ["a", "b", "c"]
    assert table["distinct_1"].to_pylist()[1] is None
    summary = summarize_quality(table, 200, 0)
    assert list(summary) == list(METRICS)
    assert summary["empty"]["value"] == pytest.approx(1 / 3)
    assert summary["distinct_1"]["documents"] == 2
    assert summary["chrf"]["low"] <= summary["chrf"]["value"] <= summary["chrf"]["high"]


def test_no_records_at_all():
    assert summarize_quality(score_records([], 20), 50, 0)["chrf"]["value"] is None
