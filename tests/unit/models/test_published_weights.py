"""Models open in the layouts in which they are published, train, write and are saved; what is not whole is refused."""

import json
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
)

from published_models import (
    LAYOUTS,
    LINES,
    edit_json,
    sonoisa_t5,
)
from tsumugi.config.experiment import Decoding
from tsumugi.errors import TsumugiError
from tsumugi.generation.stream import stream_text
from tsumugi.models import load_pretrained, load_run
from tsumugi.notices import say_once
from tsumugi.outside_model import check_files
from tsumugi.tokenization.boundaries import start_id
from tsumugi.tokenization.loading import load_tokenizer
from tsumugi.tokenization.prompts import encode_text

SEQ2SEQ, ENCODERS = {"sonoisa_t5"}, {"tohoku_bert", "old_tohoku_bert", "google_bert", "izumi_deberta"}
ENCODERS |= {"xlm_roberta", "albert"}


def logits(model):
    ids = torch.arange(5, 25).reshape(2, 10)
    more = {"decoder_input_ids": ids} if model.config.is_encoder_decoder else {}
    with torch.no_grad():
        return model.eval()(input_ids=ids, **more).logits


@pytest.mark.parametrize("layout", LAYOUTS)
def test_published_models_open_as_they_are_published(published, layout, tmp_path):
    folder = published(layout)
    check_files(folder)
    model, tokenizer = load_pretrained(str(folder))
    auto = AutoModelForSeq2SeqLM if layout in SEQ2SEQ else AutoModelForMaskedLM
    auto = auto if layout in SEQ2SEQ | ENCODERS else AutoModelForCausalLM
    expected = logits(auto.from_pretrained(folder, use_safetensors=False))
    assert torch.allclose(logits(model), expected, rtol=0, atol=1e-5 * float(expected.abs().max()))
    assert len(tokenizer) <= model.config.vocab_size
    assert None not in (tokenizer.eos_token_id, tokenizer.pad_token_id)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    again, same = load_run(tmp_path)
    assert torch.equal(logits(again), logits(model))
    assert [encode_text(same, line) for line in LINES[:20]] == [encode_text(tokenizer, line) for line in LINES[:20]]
    for role in ("eos_token_id", "pad_token_id", "unk_token_id", "mask_token_id"):
        assert getattr(same, role) == getattr(tokenizer, role), role
    assert (len(same), start_id(same)) == (len(tokenizer), start_id(tokenizer))


@pytest.mark.parametrize("form", ["bin", "old", "shards", "safetensors"])
def test_every_form_of_weights_gives_the_same_model(published, form, tmp_path):
    sonoisa_t5(tmp_path / "model", form)
    assert torch.equal(
        logits(load_pretrained(str(tmp_path / "model"))[0]), logits(load_pretrained(str(published("sonoisa_t5")))[0])
    )


def test_safetensors_come_before_pickles(taken):
    folder = taken("rinna_gpt2")
    model, _ = load_pretrained(str(folder))
    wanted = logits(model)
    model.save_pretrained(folder)
    torch.save({name: tensor * 0 for name, tensor in model.state_dict().items()}, folder / "pytorch_model.bin")
    assert torch.equal(logits(load_pretrained(str(folder))[0]), wanted)


class _Harm:
    def __reduce__(self):
        return os.mkdir, ("harm",)


@pytest.mark.parametrize("old", [False, True])
def test_a_pickle_that_runs_code_is_refused_and_not_run(taken, old, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    folder = taken("rinna_gpt2")
    harm = {"transformer.wte.weight": _Harm()}
    torch.save(harm, folder / "pytorch_model.bin", _use_new_zipfile_serialization=not old)
    with pytest.raises(TsumugiError, match="holds more than tensors") as refused:
        load_pretrained(str(folder))
    assert "weights_only" not in str(refused.value) and not Path("harm").exists()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(harm))
    with pytest.raises(TsumugiError, match="its weights cannot be opened"):
        load_pretrained(str(folder))
    assert not Path("harm").exists()


def _damage(path):
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda info: info.file_size)
    content = bytearray(path.read_bytes())
    place = largest.header_offset + 200
    content[place : place + 8] = bytes(8 * [255])
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: _damage(folder / "pytorch_model.bin"), "wrong checksum|is damaged"),
        (lambda folder: os.truncate(folder / "pytorch_model.bin", 3000), "cannot be opened|is damaged"),
        (lambda folder: (folder / "pytorch_model.bin").unlink(), "holds no weights"),
        (lambda folder: (folder / "config.json").unlink(), r"holds no config\.json"),
        (lambda folder: (folder / "config.json").write_text("{"), "is not JSON"),
        (
            lambda folder: (folder / "pytorch_model.bin").write_text("version https://git-lfs.github.com/spec/v1\n"),
            "is a pointer of Git LFS",
        ),
        (
            lambda folder: torch.save(
                dict(list(torch.load(folder / "pytorch_model.bin").items())[:-3]), folder / "pytorch_model.bin"
            ),
            "its files lack weights of a GPT2LMHeadModel: transformer.ln_f",
        ),
    ],
)
def test_a_model_that_is_not_whole_is_refused(taken, spoil, message):
    folder = taken("rinna_gpt2")
    spoil(folder)
    with pytest.raises(TsumugiError, match=message):
        load_pretrained(str(folder))


def test_weights_without_checksums_are_read(taken):
    folder = taken("rinna_gpt2")
    wanted = logits(load_pretrained(str(folder))[0])
    weights = torch.load(folder / "pytorch_model.bin")
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(weights, folder / "pytorch_model.bin")
    finally:
        torch.serialization.set_crc32_options(True)
    assert torch.equal(logits(load_pretrained(str(folder))[0]), wanted)


def test_torchs_advice_to_load_without_care_is_never_shown(taken):
    folder = taken("rinna_gpt2")
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), folder / "pytorch_model.bin")
    with pytest.raises(TsumugiError, match="it is a TorchScript file") as refused:
        load_pretrained(str(folder))
    assert "weights_only" not in str(refused.value)


@pytest.mark.parametrize("weight_map", [[], {"transformer.wte.weight": 3}])
def test_an_index_of_weights_that_names_no_files_is_refused(taken, weight_map):
    folder = taken("llama")
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(TsumugiError, match=r"pytorch_model\.bin\.index\.json: its weight_map gives no file"):
        check_files(folder)


def test_a_missing_part_of_the_weights_is_named(taken):
    folder = taken("llama")
    (folder / "pytorch_model-00002-of-00002.bin").unlink()
    with pytest.raises(TsumugiError, match=r"names pytorch_model-00002-of-00002\.bin, which is not there"):
        check_files(folder)


def test_code_that_comes_with_a_model_is_never_asked_for(taken, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("a question"))
    folder = taken("rinna_gpt2")
    (folder / "modeling_own.py").write_text("raise SystemExit('run')")
    edit_json(
        folder / "config.json", auto_map={"AutoModelForCausalLM": "modeling_own.Own", "AutoConfig": "modeling_own.C"}
    )
    load_pretrained(str(folder))  # Transformers has a class for it
    edit_json(folder / "config.json", model_type="own-kind")
    with pytest.raises(TsumugiError, match="comes with code of its own"):
        load_pretrained(str(folder))
    folder = taken("eleuther_neox")
    (folder / "tokenizer.json").unlink()
    own = {"AutoTokenizer": ["modeling_own.Own", None]}
    edit_json(folder / "tokenizer_config.json", auto_map=own, tokenizer_class="OwnTokenizer")
    with pytest.raises(TsumugiError, match="cannot be opened"):
        load_tokenizer(str(folder))


def test_a_head_that_a_published_encoder_lacks_is_said(taken, capsys):
    folder = taken("google_bert")
    state = torch.load(folder / "pytorch_model.bin")
    torch.save({n: t for n, t in state.items() if not n.startswith("cls.")}, folder / "pytorch_model.bin")
    load_pretrained(str(folder))
    assert "the files lack the head (cls.predictions" in capsys.readouterr().err
    torch.save(
        {n: t for n, t in state.items() if "word_embeddings" not in n and "decoder" not in n},
        folder / "pytorch_model.bin",
    )
    with pytest.raises(TsumugiError, match=r"lack weights of a BertForMaskedLM: bert\.embeddings\.word_embeddings"):
        load_pretrained(str(folder))


def test_one_rank_alone_says_that_the_head_is_missing(taken, capsys, monkeypatch):
    folder = taken("google_bert")
    state = torch.load(folder / "pytorch_model.bin")
    torch.save({n: t for n, t in state.items() if not n.startswith("cls.")}, folder / "pytorch_model.bin")
    for rank in ("1", "0"):
        say_once.cache_clear()
        monkeypatch.setenv("RANK", rank)
        load_pretrained(str(folder))
        assert ("the files lack the head" in capsys.readouterr().err) == (rank == "0")
    load_pretrained(str(folder))
    assert "the files lack the head" not in capsys.readouterr().err, "it was said"


def test_an_encoder_is_not_asked_to_write(published):
    model, tokenizer = load_run(published("tohoku_bert"))
    with pytest.raises(TsumugiError, match="a bert is an encoder"):
        next(stream_text(model, tokenizer, [5], Decoding(), 3))
