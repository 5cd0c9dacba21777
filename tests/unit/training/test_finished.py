"""A stop while a finished run tidies up: whatever the moment, the same command then ends well and the result stays."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tsumugi.provenance import verify

WORKER = Path(__file__).parents[1] / "kill_worker.py"
DECLARED = ["manifest.json", "metrics.jsonl"]  # the outputs of the rule, which Snakemake removes where a job fails


@pytest.mark.parametrize(
    ("signal", "in_workflow", "lose", "every"),
    [
        ("SIGKILL", False, [], 5),
        ("SIGKILL", True, DECLARED, 4),
        ("SIGTERM", True, DECLARED, 14),
        ("SIGINT", False, [], 14),
        ("SIGHUP", True, ["manifest.json"], 14),
    ],
)
def test_a_stop_while_a_finished_run_tidies_up(
    token_folder, training_specs, tmp_path, monkeypatch, signal, in_workflow, lose, every
):
    monkeypatch.chdir(token_folder)
    spec = training_specs["rwkv"]
    name = f"tidying-{signal}-{in_workflow}"
    given = {"name": name, "signal": signal, "in_workflow": in_workflow, "lose": lose, "every": every}
    given |= {"spec": spec | {"recipe": spec["recipe"] | {"steps": 3, "eval_every": 2}}}
    given |= {"data": sorted(map(str, Path("results/tokens/numbers/words").glob("*.json")))}
    given |= {"start": "results/tokenizers/words/manifest.json"}
    (tmp_path / "job.json").write_text(json.dumps(given))
    command = [sys.executable, WORKER, tmp_path / "job.json", tmp_path / "answers.json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    answers = json.loads((tmp_path / "answers.json").read_text())
    assert len(answers) > 20 // every
    complete = [answer for answer in answers if answer["found"]["manifest"] is not None]
    assert len(complete) > 10 // every, "moments at which the result was there already"
    killed_early = [answer for answer in answers if answer["found"]["model"] is None]
    assert bool(killed_early) == (signal == "SIGKILL"), "the other signals wait until the result is written"
    for answer in answers:
        said = Path(f"{answer['name']}.again.txt").read_text()
        assert answer["again"] == 0, (answer, said)
        if answer["found"]["manifest"] is not None:
            assert answer["then"] == answer["found"], (answer, said)
            assert "there is nothing to do" in said
        elif answer["found"]["model"] is None:
            assert "there is nothing to do" not in said
            assert answer["then"]["model"] is not None
        folder = Path("results/models") / answer["name"] / "seed3"
        assert verify(folder / "manifest.json").problems == []
        entries = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        assert [entry["step"] for entry in entries] == [0, 1, 2, 3]
        results = json.loads((folder / "manifest.json").read_text())["results"]
        assert None not in (results["dev_loss_first"], results["dev_loss_last"])
        left = [
            path for path in Path("state", answer["name"]).rglob("*") if path.is_file() and ".lock" not in path.name
        ]
        assert sorted({path.name for path in left}) == (DECLARED if in_workflow else [])
        assert not [path for path in folder.parent.iterdir() if path.name.startswith(".")], "nor what a kill has left"
