"""The page, the tables and the plots, made from a results folder as the other stages leave it."""

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from lxml import etree, html

from reporting_results import DOCUMENTS, FAMILY, experiment, write_results
from tsumugi import layout
from tsumugi.errors import TsumugiError
from tsumugi.evaluation import score_likelihood, score_ngrams, score_quality
from tsumugi.provenance import verify
from tsumugi.reporting import narrative, setup
from tsumugi.reporting.build_report import build_report
from tsumugi.reporting.data import choose_samples
from tsumugi.reporting.estimates import Bootstrap, difference
from tsumugi.reporting.metrics import METRICS, ORDERS, REFERENCE_COLUMNS, baseline_metric
from tsumugi.reporting.report_tables import Table

MANIFEST = Path("results/report/manifest.json")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two runs, one seed, one report."""
    with pytest.MonkeyPatch.context() as patch:
        path = tmp_path_factory.mktemp("report")
        patch.chdir(path)
        build_report(write_results(experiment()), MANIFEST)
    return path


@pytest.fixture
def page(folder):
    return html.parse(str(folder / "results/report/index.html")).getroot()


def rows(folder, name):
    with open(folder / "results/report" / name, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def said(page):
    return re.sub(r"\s+", " ", page.text_content())


def test_the_main_table_has_runs_floors_and_intervals(folder):
    found = {row["run"]: row for row in rows(folder, "compare.comparison.csv")}
    assert list(found) == [
        "rwkv-title",
        "t5-title",
        "counted unigram (ja-8k)",
        "counted bigram (ja-8k)",
        "counted trigram (ja-8k)",
        "the original texts",
    ]
    rwkv = found["rwkv-title"]
    for key in ("bits_per_byte", "title_gain", "title_gain_same_category", "chrf", "rouge_l", "length_ratio"):
        assert float(rwkv[f"{key}_low"]) <= float(rwkv[key]) <= float(rwkv[f"{key}_high"])
    assert float(found["counted trigram (ja-8k)"]["bits_per_byte"]) == pytest.approx(1.2)
    assert found["counted trigram (ja-8k)"]["title_gain"] == ""


def test_the_differences_are_paired_and_read_in_words(folder):
    found = {(row["difference"], row["measure"]): row for row in rows(folder, "compare.differences.csv")}
    bits = found["rwkv-title − t5-title", "bits per byte"]
    assert float(bits["value_high"]) < 0 and bits["reading"] == "better: rwkv-title"
    assert bits["documents"] == str(DOCUMENTS)
    assert found["rwkv-title − t5-title", "title word uptake"]["documents"] == str(DOCUMENTS - 1)  # one has no value
    assert ("t5-title − counted trigram (ja-8k)", "bits per byte") in found


def test_every_measure_has_columns_that_the_evaluation_writes(folder):
    first = rows(folder, "compare.comparison.csv")[0]
    assert [metric.key for metric in METRICS if first[metric.key] == ""] == []
    original = rows(folder, "compare.comparison.csv")[-1]
    assert original["run"] == "the original texts"
    assert [key for key in REFERENCE_COLUMNS if original[key] == ""] == []


def test_columns_are_those_of_the_evaluation():
    for metric in METRICS:
        assert set(metric.columns) <= {*score_likelihood.COLUMNS, *score_quality.METRICS}, metric.key
    assert set(REFERENCE_COLUMNS.values()) <= set(score_quality.METRICS)
    for order in ORDERS:
        assert set(baseline_metric(order).columns) <= set(score_ngrams.COLUMNS)


def test_where_no_direction_is_better_the_originals_are_the_mark(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spec = write_results(experiment())
    for run, varied, length in (("rwkv-title", 0.8, 0.9), ("t5-title", 0.95, 1.2)):
        path = layout.score(run, 42, "title_to_article", "quality").with_suffix(".parquet")
        frame = pd.read_parquet(path)
        noise = np.random.default_rng(len(run)).normal(0, 0.01, len(frame))
        changed = {
            "distinct_2": varied + noise,
            "length_ratio": length + noise,
            "repeated_8grams": 0.001 * (varied + 1),
        }
        frame.assign(**changed, distinct_2_reference=0.7, repeated_8grams_reference=0.05).to_parquet(path)
    build_report(spec, MANIFEST)
    found = {row["measure"]: row["reading"] for row in rows(tmp_path, "compare.differences.csv")[: len(METRICS)]}
    assert found["distinct-2"] == "closer to the originals: rwkv-title (t5-title is more varied)"
    assert found["repeated 8-grams"] == "closer to the originals: t5-title, which repeats itself more"
    assert found["length ratio"] == "t5-title is longer"  # one too short, one too long: neither is shown closer
    text = said(html.parse(str(tmp_path / "results/report/index.html")).getroot())
    assert "by distinct-2: rwkv-title 0." in text and "better: t5-title" not in found["distinct-2"]


def test_documents_that_share_text_are_named(page):
    text = said(page)
    assert f"{FAMILY} of the {DOCUMENTS} test documents share text with another test document" in text
    assert f"all {DOCUMENTS} form {DOCUMENTS - FAMILY + 1} groups, the largest of {FAMILY} documents" in text


def test_tokens_read_and_predicted(folder):
    found = {row["property"]: row for row in rows(folder, "compare.setup.csv")}
    assert found["fine-tuning: tokens read (by encoder and decoder)"]["differs"] == "no"
    predicted = found["fine-tuning: tokens predicted (those with a loss)"]
    assert predicted["run:rwkv-title"] == "80\N{NARROW NO-BREAK SPACE}000" and predicted["run:t5-title"] == "–"


def _setup(*differing):
    rows_ = [{"property": name, "differs": "yes"} for name in differing]
    return Table("setup", "", (), [*rows_, {"property": "tokenizer", "differs": "no"}])


def test_confounds_say_what_they_know():
    (both,) = narrative._confounds(_setup("architecture", "starts from", "fine-tuning: steps", "prompt"))
    assert both.startswith("Besides the architecture the compared runs differ in fine-tuning (steps), prompt.")
    (same,) = narrative._confounds(_setup("starts from", "fine-tuning: steps"))
    assert same.startswith("The compared runs differ in starts from, fine-tuning (steps).")
    assert "architecture" not in same
    (one,) = narrative._confounds(_setup("prompt"))
    assert one == "The compared runs differ in one thing that is recorded: prompt."
    assert list(narrative._confounds(_setup("architecture", "seeds"))) == []


def test_one_document_decides_nothing():
    frame = pd.DataFrame({"chrf": [8.0]}, index=["a"])
    chrf = next(metric for metric in METRICS if metric.key == "chrf")
    found = difference(chrf, frame, frame - 3, Bootstrap(100, 0))
    assert (found.value, found.low, found.high, found.decided) == (3.0, None, None, False)
    assert found.verdict == "too few documents for an interval" and narrative.say(found, 2) == "3.00"


def test_the_headline_comes_from_the_numbers(page):
    text = said(page)
    assert "rwkv-title does not beat the counted trigram" in text
    assert "rwkv-title uses its title" in text
    assert "wrote nothing at all for 5.0 % of the titles" in text
    assert "15.3 % of the 30-character windows" in text


def test_the_headline_changes_with_the_numbers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    build_report(write_results(experiment(runs=("rwkv-title",)), gain=0.0, ngram_bits=1.5), MANIFEST)
    text = said(html.parse(str(tmp_path / "results/report/index.html")).getroot())
    assert "rwkv-title beats the counted trigram" in text
    assert "Nothing shows that rwkv-title uses its title" in text and "includes zero" in text
    assert "rwkv-title was measured" in text


def test_cost_and_conditions(folder, page):
    cost = {row["run"]: row for row in rows(folder, "compare.cost.csv")}
    assert float(cost["rwkv-title"]["pretraining_seconds"]) == 240.0
    assert float(cost["rwkv-title"]["finetuning_seconds"]) == 50.0
    assert float(cost["rwkv-title"]["trainable_parameters"]) == 120_000
    assert float(cost["t5-title"]["inference_tokens_per_second"]) == 240
    assert "In training, the precision differs" in said(page) and "threads differs" not in said(page)


def _rank(kind, micro_batch, accumulation, idle, measured=None):
    rank = {"kind": kind, "micro_batch": micro_batch, "accumulation": accumulation, "busy": 1.0, "idle_share": idle}
    rank["examples"] = micro_batch * accumulation
    return rank | ({} if measured is None else {"measured_idle_share": measured})


def _execute(run, **execution):
    """Where and how fast a run was trained: no part of its manifest's identity."""
    path = layout.model_folder(run, 42) / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["execution"] |= execution
    path.write_text(json.dumps(manifest), encoding="utf-8")


def test_a_run_over_unequal_devices_shows_its_layout_cost_and_plan(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spec = write_results(experiment())
    ranks = [_rank("a6000", 12, 2, 0.0, 0.01), _rank("v100", 8, 1, 0.1, 0.2), _rank("v100", 8, 1, 0.2, 0.4)]
    plan = {"global_batch": 40, "ranks": ranks, "step_seconds": 0.5, "measured_step_seconds": 0.55}
    layout = {"world_size": 3, "nodes": 2, "processes": [1, 2], "zero_stage": 0, "precision": "bf16+fp16"}
    costs = {"gpu_hours": 3.0, "energy_joules": 7200.0, "micro_batch": [12, 8, 8], "device": "RTX A6000, Tesla V100"}
    _execute("rwkv-title", **layout, **costs, plan=plan)
    _execute("rwkv-title-base", gpu_hours=1.0, energy_joules=3600.0)
    single = {"world_size": 1, "nodes": 1, "processes": [1], "zero_stage": 0, "micro_batch": [8], "gpu_hours": 0.0}
    _execute("t5-title", **single, energy_joules=None, plan=None)
    build_report(spec, MANIFEST)

    cost = {row["run"]: row for row in rows(tmp_path, "compare.cost.csv")}
    assert cost["rwkv-title"]["layout"] == "3 processes on 2 nodes" and cost["t5-title"]["layout"] == ""
    assert (float(cost["rwkv-title"]["gpu_hours"]), float(cost["rwkv-title"]["energy_wh"])) == (4.0, 3.0)
    assert cost["t5-title"]["energy_wh"] == "" and cost["t5-title"]["gpu_hours"] == "", "the base's are not known"
    shares = rows(tmp_path, "compare.sharing.csv")
    assert [(row["kind"], row["ranks"], row["micro_batch"], row["accumulation"]) for row in shares] == [
        ("a6000", "1", "12", "2"),
        ("v100", "2", "8", "1"),
    ]
    assert float(shares[1]["idle_share"]) == pytest.approx(0.15)
    assert float(shares[1]["measured_idle_share"]) == pytest.approx(0.3)
    assert (shares[0]["predicted_step_seconds"], shares[0]["measured_step_seconds"]) == ("0.5", "0.55")
    text = said(html.parse(str(tmp_path / "results/report/index.html")).getroot())
    assert "How the batch was shared out" in text and "GPU-hours, training" in text
    assert "the number of nodes differs (2: rwkv-title; 1: t5-title)" in text
    assert "the number of processes on each node differs (1 + 2: rwkv-title; 1: t5-title)" in text
    assert "the micro-batch differs (12 + 8 + 8: rwkv-title; 8: rwkv-title-base, t5-title, t5-title-base)" in text
    assert "ZeRO stage differs" not in text


def test_a_cpu_has_no_columns_for_gpus(folder, page):
    assert not {"layout", "gpu_hours", "energy_wh"} & rows(folder, "compare.cost.csv")[0].keys()
    assert rows(folder, "compare.sharing.csv") == [] and "How the batch was shared out" not in said(page)


def test_any_adapter_is_named_with_its_settings():
    adapter = {"lora": None, "peft": {"type": "IA3", "target_modules": ["k", "v"], "init_ia3_weights": True}}
    assert setup._adapter(adapter) == "IA3 adapter, target modules k v, init ia3 weights True"


def test_settings_of_every_type_can_be_written():
    settings = {"kind": "masked_lm", "share": 0.15, "spans": [1, 2.5], "how": "whole words", "keep": True, "seed": None}
    written = "masked lm, share 0.15, spans 1 2.5, how whole words, keep true, seed none"
    assert setup._with_settings(settings, "kind") == written


def test_what_differs_beside_the_architecture(folder):
    found = {row["property"]: row for row in rows(folder, "compare.setup.csv")}
    assert found["fine-tuning: what is trained"]["run:rwkv-title"].startswith("LoRA adapter, r 32")
    assert found["fine-tuning: what is trained"]["run:t5-title"] == "all weights"
    assert found["prompt"]["differs"] == "yes" and found["tokenizer"]["differs"] == "no"


def test_titles_and_outputs_are_data(page):
    assert not page.xpath("//script") and not page.xpath("//article//img") and not page.xpath("//*[@onerror]")
    samples = page.xpath("string(//section[.//article])")
    assert "<script>" in samples or "<b>" in samples or "<img" in samples  # shown as the text that they are


def test_samples_are_the_first_of_a_drawn_order():
    ids = [f"{i}" for i in range(100)]
    assert choose_samples(ids, 5, 1) == choose_samples(reversed(ids), 5, 1)
    assert choose_samples(ids, 5, 1) != choose_samples(ids, 5, 2)
    assert choose_samples(ids, 6, 1)[:5] == choose_samples(ids, 5, 1)


def test_nothing_is_asked_for_outside_the_page(page):
    for element in page.iter(etree.Element):
        for name, value in element.attrib.items():
            if name.rsplit("}", 1)[-1] in ("href", "src", "srcset", "action", "data", "poster"):
                assert value.startswith("#"), (element.tag, name, value)
        assert "url(" not in (element.get("style") or "").replace("url(#", "")
    assert not page.xpath("//link | //iframe | //object | //embed | //script")
    assert "@import" not in page.xpath("string(//style)") and "url(" not in page.xpath("string(//style)")


def test_identifiers_are_unique_and_links_inside_the_page_lead_somewhere(page):
    ids = page.xpath("//@id")
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in page.xpath("//a/@href")} <= set(ids)


def test_every_file_is_named_in_the_manifest_and_proved(folder, monkeypatch):
    monkeypatch.chdir(folder)
    visited, problems, *_ = verify(MANIFEST)
    assert problems == [] and "results/corpora/docs/raw.json" in visited
    names = {path.name for path in MANIFEST.parent.iterdir()}
    spec_names = {"index.html", "manifest.json"}
    assert names == spec_names | set(layout.tables(_spec())) | set(layout.figures(_spec()))


def _spec():
    from tsumugi.config.report_spec import report_spec

    return report_spec(experiment())


def test_the_page_shows_the_chain_down_to_the_raw_files(folder, page):
    from tsumugi.provenance import file_sha256

    tree = page.xpath("//div[@class='tree']")[0].text_content()
    assert file_sha256(folder / "data/docs/docs.jsonl") in tree
    for kind in (
        "score_likelihood",
        "train_model",
        "train_tokenizer",
        "clean_shard",
        "normalize_shard",
        "fetch_corpus",
    ):
        assert kind in tree


def test_plots_are_the_same_twice_and_carry_no_letters_that_need_a_font(folder, tmp_path, monkeypatch):
    again = tmp_path / "again"
    shutil.copytree(folder, again)
    monkeypatch.chdir(again)
    build_report(_spec(), MANIFEST)
    for name in (*layout.figures(_spec()), *layout.tables(_spec()), "index.html"):
        first, second = ((place / "results/report" / name).read_bytes() for place in (folder, again))
        assert first == second, name
    plot = (folder / "results/report/compare.learning.svg").read_text()
    assert "<text" not in plot and "<dc:date>" not in plot


@pytest.mark.parametrize(
    "shape",
    [
        {"runs": ("rwkv-title", "t5-title", "third"), "seeds": (1, 2)},
        {"runs": ("t5-title",), "reports": ("first", "second")},
    ],
)
def test_other_shapes(tmp_path, monkeypatch, shape):
    monkeypatch.chdir(tmp_path)
    spec = write_results(experiment(**shape))
    build_report(spec, MANIFEST)
    found = html.parse(str(tmp_path / "results/report/index.html")).getroot()
    ids = found.xpath("//@id")
    assert len(ids) == len(set(ids))
    for report in shape.get("reports", ("compare",)):
        table = rows(tmp_path, f"{report}.comparison.csv")
        assert [row["run"] for row in table][: len(shape["runs"])] == list(shape["runs"])
        assert table[0]["seeds"] == str(len(shape.get("seeds", (42,))))


def test_values_that_were_not_measured_are_dashes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spec = write_results(experiment())
    for run in ("rwkv-title", "t5-title"):
        path = layout.score(run, 42, "title_to_article", "quality").with_suffix(".parquet")
        pd.read_parquet(path)[["id", "chrf"]].to_parquet(path)
        path = layout.score(run, 42, "title_to_article", "likelihood").with_suffix(".parquet")
        pd.read_parquet(path).assign(bits_same_category=float("nan")).to_parquet(path)
        (layout.model_folder(run, 42) / "metrics.jsonl").write_text("")
    build_report(spec, MANIFEST)
    row = rows(tmp_path, "compare.comparison.csv")[0]
    assert row["rouge_l"] == "" and row["title_gain_same_category"] == "" and row["chrf"] != ""


@pytest.mark.parametrize(
    "name",
    [
        "results/models/t5-title/seed42/manifest.json",
        "results/models/t5-title/seed42/metrics.jsonl",
        "results/generations/t5-title/seed42/title_to_article.jsonl",
        "results/scores/t5-title/seed42/title_to_article.quality.parquet",
        "results/corpora/docs/stats.json",
        "results/corpora/docs/split/test.parquet",
        "results/tokenizers/ja-8k/fertility.json",
    ],
)
def test_a_missing_file_is_named_and_nothing_is_written(folder, tmp_path, monkeypatch, name):
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    shutil.rmtree(broken / "results/report")
    monkeypatch.chdir(broken)
    Path(name).unlink()
    with pytest.raises(TsumugiError, match=re.escape(name)) as error:
        build_report(_spec(), MANIFEST)
    assert "run" in str(error.value)
    assert not MANIFEST.exists()
