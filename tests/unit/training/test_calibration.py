"""The search for the largest micro-batch, with a limit of memory that is really hit, and what is made of its times."""

import importlib.util
import json
import re
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import T5Config

from tsumugi.errors import TsumugiError
from tsumugi.models import build_model
from tsumugi.training.calibrate_model import search
from tsumugi.training.data.sampler import SampleIndex
from tsumugi.training.distributed.world import World
from tsumugi.training.model_source import set_up_for_training
from tsumugi.training.objectives import build_objective
from tsumugi.training.planning.calibration import Calibration, Key, find, fit, load, make_key, save
from tsumugi.training.planning.micro_batch_trial import Examples, Request, is_out_of_memory, next_size, run_trial

SCRIPT = Path(__file__).parents[3] / "scripts/calibrate_model.py"
KEY = Key("t5", 1, 1, "abc", "sft", "count/plain", 16, "fp32", 0, False, False, "cpu, 1 thread(s)", 1)
FOUND = Calibration(KEY, 3, 8, None, 0.1, 0.2, 0.05, ((1, 0.3), (2, 0.5), (3, 0.7)))


@pytest.fixture
def calibrate(token_folder, training_specs, tmp_path, monkeypatch, capfd):
    """Runs the command line in this process; its trials have their own. Returns what was printed, and the files."""
    module_spec = importlib.util.spec_from_file_location("calibrate_model", SCRIPT)
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    monkeypatch.chdir(token_folder)
    monkeypatch.setattr(module.signal, "signal", lambda *_: None)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")

    def run(name, *options, **changes):
        spec_file = tmp_path / f"{name}.json"
        spec_file.write_text(json.dumps(training_specs[name] | changes), encoding="utf-8")
        data = sorted(Path("results/tokens/numbers/words").glob("*.json"))
        line = [
            "--spec",
            spec_file,
            "--seed",
            3,
            "--init-from",
            "results/tokenizers/words/manifest.json",
            "--data",
            *data,
        ]
        line += ["--output", tmp_path / "calibration", "--threads", 1, *options]
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, line)])
        module.main()
        return capfd.readouterr().out, [load(path) for path in sorted((tmp_path / "calibration").glob("*"))]

    return run


def test_the_largest_that_fits_is_found_and_remembered(calibrate, training_specs, tmp_path):
    recipe = training_specs["t5"]["recipe"] | {"context": 512, "global_batch": 4}
    attentive = training_specs["t5"]["architecture"] | {"num_heads": 64}  # 280 MB for each example
    ask = {"recipe": recipe, "architecture": attentive}
    limit = ("--memory-gib", 1.14)  # room for two: 0.96 was seen to be too little for them, a third takes 0.26 more
    printed, (found,) = calibrate("t5", *limit, **ask)
    assert 1 <= found.largest_micro_batch < 4 == found.tried_up_to
    one_more = found.largest_micro_batch + 1
    assert re.search(rf"micro-batch {one_more}: too large \(.*allocate", printed)
    assert found.largest_micro_batch == max(size for size, _ in found.measured)
    assert (found.fixed_seconds, found.per_example_seconds) == fit(found.measured)

    notes = tmp_path / "notes"  # one more fails in a process that tried nothing before, too
    notes.mkdir()
    nothing_known = ["--output", str(tmp_path / "none")]
    line = [sys.executable, *sys.argv, *nothing_known, "--trial", *map(str, (notes, one_more - 1, one_more + 1))]
    assert subprocess.run(line, capture_output=True).returncode == 1
    trying, last = read_notes(notes)[-2:]
    assert trying == {"trying": one_more}
    assert "allocate" in last["out_of_memory"]

    again, kept = calibrate("t5", *limit, **ask)
    assert "calibrated before" in again
    assert kept == [found]


def test_trials_run_under_zero_with_several_processes(calibrate):
    options = ("--zero-stage", 2, "--processes", 2, "--largest", 1, "--gradient-checkpointing")
    printed, (found,) = calibrate("rwkv", *options)
    assert "the most that was to be tried" in printed
    assert (found.key.zero_stage, found.key.processes, found.key.gradient_checkpointing) == (2, 2, True)
    assert found.largest_micro_batch == 1


def test_a_folder_that_cannot_be_written_is_noticed_before_the_trials(calibrate, tmp_path):
    (tmp_path / "a-file").write_text("")
    for flag, named in (("--output", "a-file/calibration.json"), ("--record", "a-file")):
        with pytest.raises(TsumugiError, match=rf"{named}\S*: cannot be written \(.*nothing was computed"):
            calibrate("rwkv", flag, tmp_path / "a-file" / ("" if flag == "--output" else "record.json"))


def test_impossible_numbers_are_refused(calibrate):
    with pytest.raises(TsumugiError, match=r"--largest 0: it must be more than 0"):
        calibrate("rwkv", "--largest", 0)
    with pytest.raises(TsumugiError, match=r"--offload cpu needs --zero-stage"):
        calibrate("rwkv", "--offload", "cpu")


def read_notes(folder):
    return [json.loads(line) for line in (folder / "rank0.jsonl").read_text().splitlines()]


@pytest.fixture
def trial(token_folder, training_specs, tmp_path, monkeypatch):
    """Runs a trial in this process; returns its status and its notes."""
    monkeypatch.chdir(token_folder)

    def run(name, start="results/tokenizers/words/manifest.json", data="tokens/numbers/words/*.json", **changes):
        request = Request(
            spec=training_specs[name] | changes,
            seed=3,
            data=sorted(Path("results").glob(data)),
            start=Path(start),
            precision=None,
            zero_stage=0,
            offload=False,
            gradient_checkpointing=False,
            memory_gib=None,
            largest=2,
            folder=tmp_path,
        )
        try:
            run_trial(request, tmp_path, 0, None)
        except SystemExit as end:
            return end.code, read_notes(tmp_path)
        return 0, read_notes(tmp_path)

    return run


def test_a_trial_says_what_the_user_got_wrong(trial, training_specs):
    status, notes = trial("rwkv", recipe=training_specs["rwkv"]["recipe"] | {"context": 100000})
    assert status == 1
    assert "lower the recipe's context" in notes[-1]["refused"]


def test_a_defect_is_no_lack_of_memory(trial):
    status, notes = trial("rwkv", architecture={"n_layer": 2})
    assert status == 1
    assert "KeyError: 'kind'" in notes[-1]["defect"]


def test_batches_are_as_long_as_the_longest_examples(token_folder, training_specs, word_tokenizer):
    data = [token_folder / "results/pairs/count/plain/words/manifest.json"]
    objective = build_objective(training_specs["tuned"], data, word_tokenizer, T5Config(decoder_start_token_id=0), 3)
    examples = Examples(objective, 3)
    pairs = [objective.example(SampleIndex(0, index, 0)) for index in range(objective.sizes[0])]
    (batch, _) = examples.worst_batches(3)
    assert batch.model_inputs["input_ids"].shape == (3, max(len(pair.inputs) for pair in pairs))
    assert batch.labels.shape == (3, max(len(pair.labels) for pair in pairs))
    first, second = examples.usual_batches(3, step=1)
    assert not torch.equal(first.labels, second.labels) or first.labels.shape != second.labels.shape


CHILD = """
import json, os, signal, sys
folder, fits, too_large = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
def note(**what):
    with open(f"{folder}/rank{os.environ.get('RANK', 0)}.jsonl", "a") as file:
        file.write(json.dumps(what) + "\\n")
note(key=KEY)
"""


def child(code):
    """A trial of a few lines that makes no model, to see what is made of its end."""
    return [sys.executable, "-c", CHILD.replace("KEY", repr(asdict(KEY))) + code]


def test_a_kill_by_the_system_means_too_large_and_the_search_goes_on():
    code = """
for size in (1, 2) if not fits else (3,):
    note(trying=size)
    note(size=size, seconds=0.1 + 0.2 * size, update_seconds=0.05)
if not fits:
    note(trying=4)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    found, file = search(child(code), 1, 8, None)
    assert file is None
    assert found == replace(
        FOUND, fixed_seconds=pytest.approx(0.1), per_example_seconds=pytest.approx(0.2), measured=found.measured
    )
    assert found.measured == ((1, pytest.approx(0.3)), (2, pytest.approx(0.5)), (3, pytest.approx(0.7)))


def test_one_process_without_memory_is_enough_and_the_slowest_counts():
    code = """
import time
rank = int(os.environ["RANK"])
note(trying=1)
note(size=1, seconds=1 + rank, update_seconds=0.05)
note(trying=2)
if rank == 1:
    note(out_of_memory="CUDA out of memory")
    sys.exit(1)
time.sleep(0.3)
note(defect="Connection closed by peer")
sys.exit(1)
"""
    found, _ = search(child(code), 2, 2, 1.5)
    assert (found.largest_micro_batch, found.measured, found.memory_gib) == (1, ((1, 2.0),), 1.5)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("note(refused='recipe.context is wrong'); sys.exit(1)", r"^recipe\.context is wrong$"),
        ("note(trying=1); sys.exit(3)", "ended with status 3"),
        ("note(trying=1); print('std::bad_alloc', flush=True); sys.exit(3)", "ended with status 3:\nstd::bad_alloc"),
        ("note(trying=1); os.kill(os.getpid(), signal.SIGTERM)", "ended with status -15"),
        ("note(trying=1); os.kill(os.getpid(), signal.SIGKILL)", "not even a micro-batch of 1 fits the memory"),
        ("note(trying=1); print('std::bad_alloc', flush=True); os.abort()", "not even a micro-batch of 1 fits"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "the model alone does not fit"),
    ],
)
def test_every_other_end_is_an_error(code, message):
    with pytest.raises(TsumugiError, match=message):
        search(child(code), 1, 8, None)


@given(limit=st.integers(1, 300), largest=st.integers(1, 300))
def test_the_search_ends_at_the_largest_that_fits(limit, largest):
    fits, too_large, tried = 0, None, []
    while (size := next_size(fits, too_large, largest)) is not None:
        tried.append(size)
        fits, too_large = (size, too_large) if size <= limit else (fits, size)
    assert fits == min(limit, largest)
    assert len(set(tried)) == len(tried) <= 2 * (largest.bit_length() + 1)


@given(fixed=st.floats(0, 10), per_example=st.floats(0, 10), sizes=st.sets(st.integers(1, 500), min_size=2))
def test_the_time_model_recovers_its_line(fixed, per_example, sizes):
    found = fit([(size, fixed + per_example * size) for size in sizes])
    assert found == pytest.approx((fixed, per_example), rel=1e-6, abs=1e-6)


@given(st.lists(st.tuples(st.integers(1, 500), st.floats(1e-4, 10)), min_size=1))
def test_the_time_model_predicts_no_negative_time(measured):
    fixed, per_example = fit(measured)
    assert fixed >= 0
    assert per_example >= 0
    assert fixed + per_example > 0


def test_only_messages_of_memory_count():
    try:
        torch.empty(2**60, dtype=torch.uint8)
    except RuntimeError as error:
        assert is_out_of_memory(error)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("Connection closed by peer"))
    assert not is_out_of_memory(KeyError("out of memory"))


def test_a_calibration_is_found_by_its_key_with_no_more_processes(tmp_path):
    assert find(tmp_path, KEY) is None
    save(tmp_path, FOUND)
    assert find(tmp_path, KEY) == FOUND
    assert find(tmp_path, replace(KEY, precision="bf16")) is None
    two = replace(FOUND, key=replace(KEY, processes=2), largest_micro_batch=5)
    save(tmp_path, two)
    assert find(tmp_path, KEY) == FOUND
    assert find(tmp_path, replace(KEY, processes=4)) == two


def test_a_calibration_answers_what_it_tried():
    assert FOUND.answers(100, None), "4 did not fit"
    assert not FOUND.answers(8, 2.0)
    all_fitted = replace(FOUND, largest_micro_batch=8)
    assert all_fitted.answers(6, None)
    assert not all_fitted.answers(9, None)


def test_a_damaged_file_is_named(tmp_path):
    path = save(tmp_path, FOUND)
    path.write_text(path.read_text()[:50])
    with pytest.raises(TsumugiError, match=rf"{path.name}: not a calibration .* delete it"):
        find(tmp_path, KEY)


def test_the_key_follows_from_the_model_alone(training_specs, word_tokenizer):
    world = World(0, 1, 0, 1, 0, torch.device("cpu"))
    options = {"precision": "fp32", "stage": 0, "offload": False, "gradient_checkpointing": False}
    spec = training_specs["t5"]
    model = build_model(spec["architecture"], word_tokenizer)
    key = make_key(spec, model, world, **options)
    set_up_for_training(model, gradient_checkpointing=True)
    assert make_key(spec, model, world, **options) == key
    wider = spec["architecture"] | {"num_heads": 4}
    assert make_key(spec, build_model(wider, word_tokenizer), world, **options) != key
