"""Every entry of the corpus stage's registries, from the configuration to the job."""

import inspect
import subprocess
import sys
from typing import get_args

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import TypeAdapter

from tsumugi.atomic import write_json
from tsumugi.config.experiment import Config
from tsumugi.config.specs import SPECS
from tsumugi.corpus.filters import FILTERS, AnyFilter
from tsumugi.corpus.normalization.normalizers import NORMALIZERS
from tsumugi.corpus.normalization.text_cleanup import CLEANINGS
from tsumugi.corpus.normalize_shard import normalize_shard
from tsumugi.corpus.readers import READERS, AnyCorpus
from tsumugi.corpus.sections import CorpusBase
from tsumugi.corpus.storage.document import Document
from tsumugi.corpus.storage.shard_schema import SHARD_SCHEMA
from tsumugi.provenance import write_manifest
from tsumugi.schema.spec_file import read_spec

KEPT = "白い鳥が空を飛び、子供たちは浜辺で貝を拾っている。"
# What a filter needs beside its name, and a text that it drops.
CASES = {
    "length": ({"min_characters": 5}, "短い。"),
    "japanese": ({}, "All of this text is English."),
    "language": ({}, "All the birds over the harbour are counted by this small tool."),
    "title": ({}, None),
    "repeated_lines": ({}, "同じ行です。\n" * 5),
    "repeated_ngrams": ({}, "あいうえおかきくけこ" * 9),
    "symbols": ({}, "★☆★☆鳥"),
    "urls": ({}, "鳥 https://a.example/b/c/d/e/f"),
    "boilerplate": ({}, "利用規約\n鳥"),
    "unreadable": ({}, "鳥\ufffd"),
    "blocked_words": ({"words": ["悪口"]}, "悪口を言う。"),
}


def names(classes, key):
    return [name for each in classes for name in get_args(each.model_fields[key].annotation)]


def configuration(**corpus):
    section = {"reader": "local_files", "files": ["a.jsonl"], "format": "jsonl", **corpus}
    return Config.model_validate({"corpora": {"birds": section}})


def normalize(folder, config, texts):
    """Run the job of a shard with the spec of the configuration; returns the dropped rows and the kept texts."""
    write_json(folder / "spec.json", SPECS["normalize_shard"](config, "birds"))
    documents = [Document(text, title, "", f"{number}", "", {}) for number, (text, title) in enumerate(texts)]
    pq.write_table(pa.Table.from_pylist([each.row() for each in documents], SHARD_SCHEMA), folder / "raw.parquet")
    write_manifest(folder / "raw.json", kind="shard_corpus", spec={}, outputs=[], results={}, started=0.0)
    spec = read_spec(folder / "spec.json")
    normalize_shard(spec, folder / "raw.json", folder / "raw.parquet", folder / "out.json")
    return pq.read_table(folder / "out.dropped.parquet").to_pylist(), pq.read_table(folder / "out.parquet").to_pylist()


@pytest.mark.parametrize("name", names(FILTERS, "name"))
def test_every_filter_goes_from_the_configuration_into_the_job(name, tmp_path):
    options, bad = CASES[name]
    config = configuration(filters=[{"name": name, **options}], normalize="none")
    texts = [(KEPT, "鳥"), (bad or KEPT + "続く。", "鳥" if bad else "")]
    dropped, kept = normalize(tmp_path, config, texts)
    assert [row["text"] for row in kept] == [KEPT]
    assert [(row["source"], row["reason"]) for row in dropped] == [("1", name)] and dropped[0]["detail"]


def test_the_configuration_knows_the_filters_of_the_registry():
    assert len(set(names(FILTERS, "name"))) == len(FILTERS)
    mapping = TypeAdapter(AnyFilter).json_schema()["discriminator"]["mapping"]
    assert {name: path.removeprefix("#/$defs/") for name, path in mapping.items()} == {
        name: each.__name__ for each in FILTERS for name in names([each], "name")
    }


def test_the_configuration_knows_the_readers_of_the_registry():
    mapping = TypeAdapter(AnyCorpus).json_schema()["discriminator"]["mapping"]
    assert {name: path.removeprefix("#/$defs/") for name, path in mapping.items()} == {
        name: reader.section.__name__ for name, reader in READERS.items()
    }


@pytest.mark.parametrize("name", READERS)
def test_every_reader_has_a_section_and_its_two_functions(name):
    reader = READERS[name]
    assert issubclass(reader.section, CorpusBase) and name in reader.names
    assert list(inspect.signature(reader.fetch).parameters) == ["spec", "folder", "corpus"]
    assert list(inspect.signature(reader.read).parameters) == ["files", "spec"]


@pytest.mark.parametrize(
    "chosen", [*({"normalize": name} for name in NORMALIZERS), *({"cleaning": name} for name in CLEANINGS)], ids=str
)
def test_every_cleaning_and_normalizer_goes_from_the_configuration_into_the_job(chosen, tmp_path):
    _, kept = normalize(tmp_path, configuration(**chosen), [(KEPT, "鳥")])
    assert len(kept) == 1


def test_the_configuration_is_read_without_what_only_jobs_need():
    heavy = (
        "torch",
        "transformers",
        "pyarrow",
        "numpy",
        "numba",
        "py3langid",
        "lxml",
        "debian",
        "mwparserfromhell",
        "requests",
    )
    code = f"import sys, tsumugi.config.loading; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n", "Snakemake reads the configuration at each start, and so does each of its jobs"
