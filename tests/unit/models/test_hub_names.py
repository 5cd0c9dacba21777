"""A hub name leads to one commit, the one that it names or the newest, for all that is read of a model."""

import json

import huggingface_hub
import pytest
from huggingface_hub import constants

from tiny_models import make_model, make_tokenizer
from tsumugi.models import load_pretrained
from tsumugi.models.runs import load_writer
from tsumugi.outside_model import outside_config

COMMITS = ["0" * 39 + "1", "0" * 39 + "2"]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache laid out as huggingface_hub does it, with two commits of a model, that is read without a network."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    model = tmp_path / "models--org--name"
    for commit in COMMITS:
        make_model("gpt2").save_pretrained(model / "snapshots" / commit)
        make_tokenizer().save_pretrained(model / "snapshots" / commit)
    (model / "refs").mkdir()
    (model / "refs/main").write_text(COMMITS[0])
    return model


@pytest.mark.parametrize("load", [load_pretrained, load_writer])
def test_all_of_a_model_is_of_one_commit(cache, load, monkeypatch):
    download = huggingface_hub.snapshot_download

    def then_pushed(*arguments, **options):
        found = download(*arguments, **options)
        (cache / "refs/main").write_text(COMMITS[1])
        return found

    monkeypatch.setattr(huggingface_hub, "snapshot_download", then_pushed)
    for expected in COMMITS:
        model, tokenizer = load("hub:org/name")
        wanted = str(cache / "snapshots" / expected)
        assert (model.config.name_or_path, tokenizer.name_or_path) == (wanted, wanted)


def test_the_configuration_is_that_of_the_commit_in_the_name(cache):
    for commit in COMMITS:
        (cache / "snapshots" / commit / "config.json").write_text(json.dumps({"of": commit}))
    assert outside_config("hub:org/name") == outside_config(f"hub:org/name@{COMMITS[0]}") == {"of": COMMITS[0]}
    assert outside_config(f"hub:org/name@{COMMITS[1]}") == {"of": COMMITS[1]}
    assert outside_config(f"hub:org/name@{'f' * 40}") == {}
