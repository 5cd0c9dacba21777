"""Training for real, on tiny models: what decides a result, what does not, and what survives a kill."""

import hashlib
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

import rank_worker
from tsumugi.models import load_run
from tsumugi.provenance import read_manifest, verify
from tsumugi.training.distributed.interruption import StopRequest
from tsumugi.training.distributed.world import World
from tsumugi.training.objectives import build_objective
from tsumugi.training.state.state_folders import fingerprint

SCRIPT = Path(__file__).parents[3] / "scripts/train_model.py"


def command(spec_file, name, output, start=None, **options):
    work = Path("results")
    if start is None:
        start, data = work / "tokenizers/words/manifest.json", sorted(work.glob("tokens/numbers/words/*.json"))
    else:
        data = [work / "pairs/count/plain/words/manifest.json"]
    flags = {"micro-batch": 4, "threads": 1, "checkpoint-seconds": 60} | options
    return [
        *(sys.executable, SCRIPT, "--spec", spec_file, "--seed", "3", "--init-from", start, "--data", *data),
        *("--state", f"state/{name}", "--output", output / "manifest.json"),
        *(part for flag, value in flags.items() for part in (f"--{flag}", str(value))),
    ]


@pytest.fixture(scope="session")
def trained(token_folder, training_specs):
    """Every tiny run, trained once through the command line: name -> directory below the working folder."""
    made = {}
    for name, start in (("rwkv", None), ("t5", None), ("tuned", "t5"), ("adapter", "rwkv")):
        spec_file, output = token_folder / f"{name}.json", Path(f"results/models/{name}/seed3")
        spec_file.write_text(json.dumps(training_specs[name]), encoding="utf-8")
        begin = made[start] / "manifest.json" if start else None
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(token_folder)
            line = command(spec_file, name, output, begin)
            subprocess.run(line, cwd=token_folder, check=True, capture_output=True, text=True)
        made[name] = output
    return made


WORLD = World(rank=0, size=1, local_rank=0, local_size=1, node=0, device=torch.device("cpu"))


def trainer(token_folder, spec, state, micro_batch=4):
    """One process that cuts the global batch into micro-batches."""
    model = rank_worker.open_model(token_folder, spec)
    objective = rank_worker.open_objective(token_folder, spec, model)
    batch = spec["recipe"]["global_batch"]
    cut = [min(micro_batch, batch - start) for start in range(0, batch, micro_batch)]
    return rank_worker.make_trainer(WORLD, model, objective, spec["recipe"], [cut], state)


def test_every_run_learns_and_its_manifest_holds(trained, token_folder, monkeypatch):
    monkeypatch.chdir(token_folder)
    for name, folder in trained.items():
        results = read_manifest(folder / "manifest.json")["results"]
        assert results["dev_loss_last"] < results["dev_loss_first"], name
        assert results["steps"] == 24
        visited, problems, *_ = verify(folder / "manifest.json")
        assert problems == []
        assert len(visited) >= 2
        assert not (token_folder / "state" / name).exists(), "the state goes once the model is there"


def test_outputs_open_with_transformers_alone(trained, token_folder, monkeypatch):
    monkeypatch.chdir(token_folder)
    ids = torch.arange(110, 120).unsqueeze(0)
    for name, auto in (("rwkv", AutoModelForCausalLM), ("tuned", AutoModelForSeq2SeqLM)):
        model = auto.from_pretrained(trained[name]).eval()
        assert AutoTokenizer.from_pretrained(trained[name]).decode([107, 108]) == "w0 w1"
        ours, _ = load_run(trained[name])
        inputs = {"input_ids": ids} | ({"decoder_input_ids": ids} if name == "tuned" else {})
        with torch.no_grad():
            assert torch.allclose(model(**inputs).logits, ours(**inputs).logits, atol=1e-5)


def test_an_adapter_keeps_its_base_and_merges_to_the_same_answers(trained, token_folder, monkeypatch):
    monkeypatch.chdir(token_folder)
    folder = trained["adapter"]
    ids = torch.arange(110, 130).unsqueeze(0)
    folded, _ = load_run(folder)
    merged, _ = load_run(folder / "merged")
    base, _ = load_run(trained["rwkv"])
    with torch.no_grad():
        assert torch.allclose(folded(ids).logits, merged(ids).logits, atol=1e-5)
        assert not torch.allclose(folded(ids).logits, base(ids).logits, atol=1e-3)
    config = json.loads((folder / "adapter/adapter_config.json").read_text())
    assert (config["lora_alpha"], config["r"]) == (4, 4)
    results = read_manifest(folder / "manifest.json")["results"]
    base_results = read_manifest(trained["rwkv"] / "manifest.json")["results"]
    assert results["parameters"] == base_results["parameters"]
    assert 0 < results["trainable_parameters"] < results["parameters"]


def test_metrics_have_a_line_for_every_logged_step(trained, token_folder):
    lines = (token_folder / trained["rwkv"] / "metrics.jsonl").read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    assert [entry["step"] for entry in entries] == list(range(25))
    evaluated = [entry for entry in entries if "dev_loss" in entry]
    assert [entry["step"] for entry in evaluated] == [0, 8, 16, 24]
    for entry in evaluated:  # the token files of the fixture count three bytes for each token
        assert entry["dev_bits_per_byte"] == pytest.approx(entry["dev_loss"] / math.log(2) / 3)


def test_training_in_pieces_ends_with_the_same_weights(token_folder, training_specs, tmp_path):
    """Dropout included: it is a function of the step."""
    whole = trainer(token_folder, training_specs["t5"], tmp_path / "whole")
    whole.run(StopRequest())
    stop = StopRequest()
    stop.signal_name = "SIGTERM"
    for _ in range(23):  # asked to stop after every single step
        piece = trainer(token_folder, training_specs["t5"], tmp_path / "pieces")
        with pytest.raises(Exception, match="stopped by SIGTERM at step"):
            piece.run(stop)
    last = trainer(token_folder, training_specs["t5"], tmp_path / "pieces")
    last.run(StopRequest())
    assert last.progress.attempts == 24
    for ours, theirs in zip(last.module.parameters(), whole.module.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    strip = [
        [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in path.read_text().splitlines()]
        for path in (tmp_path / "whole/metrics.jsonl", tmp_path / "pieces/metrics.jsonl")
    ]
    assert strip[0] == strip[1], "no line of the log is lost or written twice"


def test_a_mixture_in_pieces_and_named_in_another_order_ends_with_the_same_weights(
    token_folder, training_specs, tmp_path
):
    """The small corpus is gone through more than once, the other in part; the spans' noise is theirs too."""
    shutil.copytree(token_folder / "results/tokens/numbers", tmp_path / "tokens/numbers")
    shutil.copytree(token_folder / "results/tokens/numbers", tmp_path / "tokens/few")
    data = [
        tmp_path / f"tokens/{name}.json" for name in ("few/words/00000", "numbers/words/00000", "numbers/words/00001")
    ]
    tokenizer = AutoTokenizer.from_pretrained(token_folder / "results/tokenizers/words")
    spec = training_specs["t5"]
    recipe = spec["recipe"] | {"steps": 6, "global_batch": 24}

    def mixed(corpora, state):
        model = rank_worker.open_model(token_folder, spec)
        objective = build_objective(spec | {"corpora": corpora}, data, tokenizer, model.config, rank_worker.SEED)
        trainer = rank_worker.make_trainer(WORLD, model, objective, recipe, [[12, 12]], tmp_path / state)
        assert objective.sizes[0] < 6 * 24 / 2, "the small corpus comes again"
        return trainer

    whole, order = mixed({"few": 2.5, "numbers": 0.3}, "whole"), mixed({"numbers": 0.3, "few": 2.5}, "order")
    whole.run(StopRequest())
    order.run(StopRequest())
    stop = StopRequest()
    stop.signal_name = "SIGTERM"
    for _ in range(5):
        with pytest.raises(Exception, match="stopped by SIGTERM at step"):
            mixed({"few": 2.5, "numbers": 0.3}, "pieces").run(stop)
    last = mixed({"few": 2.5, "numbers": 0.3}, "pieces")
    last.run(StopRequest())
    for other in (order, last):
        for ours, theirs in zip(other.module.parameters(), whole.module.parameters(), strict=True):
            assert torch.equal(ours, theirs)


def test_a_state_of_an_earlier_order_of_examples_is_not_continued(training_specs):
    """What was drawn of a mixture in another order is another training; a single corpus has kept its order."""

    def without_an_order(spec):
        text = json.dumps([spec, 3, {"tokens": "id"}], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    for name, corpora, is_kept in (
        ("rwkv", {"numbers": 1.0}, True),
        ("tuned", None, True),
        ("rwkv", {"numbers": 1.0, "few": 1.0}, False),
        ("rwkv", {"numbers": 0.5}, False),
    ):
        spec = training_specs[name] | {"corpora": corpora}
        assert (fingerprint(spec, 3, {"tokens": "id"}) == without_an_order(spec)) == is_kept


def test_a_killed_job_goes_on_and_ends_with_the_same_weights(trained, token_folder, training_specs, monkeypatch):
    """SIGKILL at random moments, then SIGTERM, then to the end, through the command line."""
    monkeypatch.chdir(token_folder)
    spec = training_specs["rwkv"]
    spec_file, output = token_folder / "killed.json", Path("results/models/killed/seed3")
    spec_file.write_text(json.dumps(spec), encoding="utf-8")
    line = command(spec_file, "killed", output, **{"checkpoint-seconds": 0})
    moments, seen = random.Random(0), set()
    for _ in range(2):
        process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + 60
        while (found := set(Path("state/killed").glob("*/step*"))) <= seen and time.monotonic() < deadline:
            time.sleep(0.002)  # until this attempt has saved a step of its own
        seen |= found
        time.sleep(moments.random() * 0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert not (output / "manifest.json").exists()
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    for text in process.stdout:
        if text.startswith("resuming from step"):
            break
    process.send_signal(signal.SIGTERM)
    rest = process.communicate()[0]
    if process.returncode:  # it may have been quicker than the signal
        assert process.returncode == 1
        assert "stopped by SIGTERM at step" in rest
        done = subprocess.run(line, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "resuming from step" in done.stdout
    kept, wanted = (load_file(folder / "model.safetensors") for folder in (output, trained["rwkv"]))
    assert kept.keys() == wanted.keys()
    assert all(torch.equal(kept[name], wanted[name]) for name in wanted)


def test_a_state_of_another_spec_is_not_continued(token_folder, training_specs, monkeypatch, tmp_path):
    monkeypatch.chdir(token_folder)
    stale = Path("state/fresh/0123456789abcdef/step000000004")
    stale.mkdir(parents=True)
    spec_file = tmp_path / "spec.json"
    spec = training_specs["rwkv"]
    spec_file.write_text(json.dumps(spec | {"recipe": spec["recipe"] | {"steps": 3}}), encoding="utf-8")
    done = subprocess.run(
        command(spec_file, "fresh", tmp_path / "fresh"), capture_output=True, text=True, env=os.environ
    )
    assert done.returncode == 0, done.stderr
    assert "resuming from step" not in done.stdout
    assert [path.name for path in Path("state/fresh").iterdir()] == [stale.parent.name], "what may have cost days stays"
    assert "state/fresh: checkpoints of another training lie there" in done.stdout


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_state(token_folder, training_specs, tmp_path):
    job = trainer(token_folder, training_specs["rwkv"], tmp_path)
    job.checkpoint_seconds = 0
    step, job_step = 5, job._step

    def poison(number, *flags):
        if number == step:
            with torch.no_grad():
                next(job.module.parameters()).fill_(math.nan)
        return job_step(number, *flags)

    job._step = poison
    with pytest.raises(Exception, match=r"step 5: the loss is nan.*look at these examples \(corpus:index\): 0:"):
        job.run(StopRequest())
    assert [folder.name for folder in tmp_path.glob("step*")] == ["step000000005"]


def test_a_checkpoint_of_another_model_is_refused(token_folder, training_specs, tmp_path):
    job = trainer(token_folder, training_specs["rwkv"], tmp_path)
    job.progress.step = 1
    job._step(0)
    job._save()
    with pytest.raises(Exception, match="does not fit the model"):
        trainer(token_folder, training_specs["t5"], tmp_path)
