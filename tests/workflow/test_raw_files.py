"""Raw files that were replaced by older ones: their results are made again, or it is said that they cannot be."""

import os
import shutil

from on_workstation import planned, snakemake
from tiny_experiment import prepare

MADE = ("results/corpora/notes/sharded.json", "results/tokenizers/from-my-write/manifest.json")
OLD = (1_000_000_000, 1_000_000_000)


def replace_by_an_older_file(path, old, new):
    """Same size, another content, a time of the year 2001, as `cp -p` or `tar x` bring it."""
    content = path.read_bytes()
    assert old in content and len(old) == len(new)
    path.write_bytes(content.replace(old, new))
    os.utime(path, OLD)


def test_files_replaced_by_older_ones_are_made_again(tmp_path):
    prepare(tmp_path)
    snakemake(tmp_path, *MADE)
    assert planned(tmp_path, *MADE) == {}

    # a raw file
    shutil.copytree(tmp_path / "articles", tmp_path / "kept")
    replace_by_an_older_file(tmp_path / "articles/part1.jsonl", "古い".encode(), "新い".encode())
    assert planned(tmp_path, *MADE) == {"fetch_corpus": 1, "shard_corpus": 1}
    done = snakemake(tmp_path, *MADE)
    told = (
        "articles/part1.jsonl: has another content than when results/corpora/notes/raw.json was written; results that"
    )
    assert told in done.stdout
    assert planned(tmp_path, *MADE) == {}

    # one more that is older, and one less; back again, all is as it was
    shutil.copy2(tmp_path / "articles/part1.jsonl", tmp_path / "articles/part2.jsonl")
    assert planned(tmp_path, *MADE) == {"fetch_corpus": 1, "shard_corpus": 1}
    (tmp_path / "articles/part2.jsonl").rename(tmp_path / "away")
    assert planned(tmp_path, *MADE) == {}

    # weights of a model from outside
    config = tmp_path / "my-model/config.json"
    replace_by_an_older_file(config, b'"dropout_rate": 0.1', b'"dropout_rate": 0.2')
    assert planned(tmp_path, *MADE) == {"import_tokenizer": 1}
    replace_by_an_older_file(config, b'"dropout_rate": 0.2', b'"dropout_rate": 0.1')
    assert planned(tmp_path, *MADE) == {}

    # all that there is can be verified, without the models and the report, and nothing is made for it
    done = snakemake(tmp_path, "verify_provenance")
    assert "files: every file is the one that was recorded" in done.stdout
    assert "not made yet, and so not checked: " in done.stdout
    replace_by_an_older_file(tmp_path / "articles/part0.jsonl", "古い".encode(), "新い".encode())
    done = snakemake(tmp_path, "verify_provenance", check=False)
    assert done.returncode != 0
    assert "articles/part0.jsonl: changed since results/corpora/notes/raw.json was written" in done.stdout
    assert "every file is the one" not in done.stdout

    # nothing left to make it of
    shutil.rmtree(tmp_path / "articles")
    done = snakemake(tmp_path, *MADE, "-n", check=False)
    assert "articles/part1.jsonl: is gone, but was there when results/corpora/notes/raw.json was written" in done.stdout
    assert "'articles/*.jsonl' matches no file" in done.stdout
    assert done.returncode != 0
