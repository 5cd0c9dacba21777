"""The recipes of docs/extending.md, applied to a copy of the library and run there."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tsumugi.corpus.storage.document import Document
from tsumugi.corpus.storage.shard_schema import SHARD_SCHEMA
from tsumugi.provenance import write_manifest

ROOT = Path(__file__).parents[2]
WRITE_SPECS = """
import sys
from pathlib import Path
from tsumugi.atomic import write_json
from tsumugi.config.loading import load_config
from tsumugi.config.specs import SPECS
from tsumugi.schema.yaml_file import read_yaml

config = load_config(read_yaml(Path("config.yaml").read_text(encoding="utf-8"), "config.yaml"))
(name,) = config.corpora
for stage in sys.argv[1:]:
    write_json(Path(f"{stage}.json"), SPECS[stage](config, name))
"""


def blocks(section, language):
    """The code blocks of a language in a section of the page."""
    page = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    (text,) = re.findall(rf"^## {section}\n(.*?)(?=^## |\Z)", page, re.M | re.S)
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)


class Recipe:
    """A section of the page, its diff applied to a copy of ``src/`` in ``folder``."""

    def __init__(self, section, folder):
        self.folder = folder
        shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        (diff,), (config,) = blocks(section, "diff"), blocks(section, "yaml")
        (folder / "config.yaml").write_text(config, encoding="utf-8")
        subprocess.run(
            ["git", "apply", "-"],
            input=diff.encode(),
            cwd=folder,
            check=True,
            env=self.environment | {"GIT_DIR": "none"},
        )

    @property
    def environment(self):
        return os.environ | {"PYTHONPATH": str(self.folder / "src")}

    def run(self, *command):
        done = subprocess.run(
            [sys.executable, *map(str, command)], cwd=self.folder, capture_output=True, text=True, env=self.environment
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def write_specs(self, *stages):
        self.run("-c", WRITE_SPECS, *stages)

    def script(self, name, **options):
        arguments = [part for option, value in options.items() for part in (f"--{option}", value)]
        return self.run(ROOT / "scripts" / f"{name}.py", "--spec", f"{name}.json", *arguments)


@pytest.fixture
def recipe(request, tmp_path):
    return Recipe(request.param, tmp_path)


@pytest.mark.parametrize("recipe", ["A filter"], indirect=True)
def test_a_new_filter_drops_documents(recipe):
    folder = recipe.folder
    recipe.write_specs("normalize_shard")
    texts = ["鳥が飛ぶ。魚が泳ぐ。", "鳥が飛ぶ。"]
    rows = [Document(text, "", "", str(number), "").row() for number, text in enumerate(texts)]
    pq.write_table(pa.Table.from_pylist(rows, SHARD_SCHEMA), folder / "raw.parquet")
    write_manifest(folder / "raw.json", kind="shard_corpus", spec={}, outputs=[], results={}, started=0.0)
    printed = recipe.script("normalize_shard", sharded="raw.json", shard="raw.parquet", output="out.json")
    assert "sentences: 1 documents" in printed
    assert pq.read_table(folder / "out.parquet")["text"].to_pylist() == texts[:1]
    (dropped,) = pq.read_table(folder / "out.dropped.parquet").to_pylist()
    assert (dropped["reason"], dropped["detail"]) == ("sentences", "1 sentences, fewer than 2")


@pytest.mark.parametrize("recipe", ["A reader"], indirect=True)
def test_a_new_reader_reads_documents(recipe):
    folder = recipe.folder
    (folder / "notes").mkdir()
    (folder / "notes" / "birds.md").write_text("はじめに\n# 鳥の話\n鳥が飛ぶ。\n", encoding="utf-8")
    (folder / "notes" / "old.md").write_bytes("# 古い話\n".encode("shift_jis"))
    recipe.write_specs("fetch_corpus", "shard_corpus")
    recipe.script("fetch_corpus", data="data/notes", output="raw.json")
    recipe.script("shard_corpus", raw="raw.json", shards="raw", rejected="rejected.parquet", output="sharded.json")
    (document,) = pq.read_table(folder / "raw" / "00000.parquet").to_pylist()
    assert document["title"] == "鳥の話" and document["text"].startswith("はじめに")
    assert len(pq.read_table(folder / "rejected.parquet")) == 1


@pytest.mark.parametrize(
    ("recipe", "key"), [("A filter", "min_sentences"), ("A reader", "title_level")], indirect=["recipe"]
)
def test_a_new_section_stands_in_the_json_schema(recipe, key):
    code = "import json; from tsumugi.config.experiment import Config; print(json.dumps(Config.model_json_schema()))"
    schema = json.loads(recipe.run("-c", code))
    (section,) = [section for section in schema["$defs"].values() if key in section["properties"]]
    assert section["description"] and section["properties"][key]["description"]
