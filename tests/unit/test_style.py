"""Formatting and conventions, so that no review has to speak of them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RULES = sorted((ROOT / "rules").glob("*.smk"))
SCRIPTS = sorted((ROOT / "scripts").glob("*.py"))
assert len(SCRIPTS) > 20, "the parametrized tests below would pass empty"
BIN = Path(sys.executable).parent
LINT = re.search(r"^lint:.*\n((?:\t.+\n)+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)[1]
LINTERS = [line.strip().removeprefix("$(BIN)/") for line in LINT.splitlines()]
assert len(LINTERS) >= 6 and "$" not in "".join(LINTERS), "the test below would pass empty, or run something else"


def run(*command):
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env=os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}"}
    )


@pytest.mark.parametrize("command", LINTERS)
def test_linters_are_clean(command):
    done = run("bash", "-c", command)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_rule_has_what_a_rule_must_have():
    names = []
    for path in RULES:
        for text in re.split(r"^rule ", path.read_text(encoding="utf-8"), flags=re.M)[1:]:
            name = text.split(":", 1)[0]
            names.append(name)
            for part in ('"""', "log:", "benchmark:", "conda:", "threads:", "mem_mb=", "runtime="):
                assert part in text, f"{path.name}: rule {name} has no {part}"
            assert f'"logs/{name}/' in text, f"{path.name}: the log of {name} lies elsewhere"
            assert f'"benchmarks/{name}/' in text, f"{path.name}: the benchmark of {name} lies elsewhere"
            if name != "write_spec":
                assert re.search(rf"^ +(\{{resources.node_launcher\}} )?{name}\.py ", text, re.M), (
                    f"{path.name}: {name} and its script have two names"
                )
    assert len(names) > 20 and len(set(names)) == len(names)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_every_script_is_thin_and_explains_itself(script):
    assert len(script.read_text(encoding="utf-8").splitlines()) < 150
    assert os.access(script, os.X_OK) and script.read_text(encoding="utf-8").startswith("#!/usr/bin/env python\n")
    done = run(sys.executable, str(script), "--help")
    assert done.returncode == 0, done.stderr
    assert f"scripts/{script.name}" in done.stdout, "--help shows an example of its use"


def test_the_locks_never_name_a_local_build_of_torch():
    for lock in ("cpu.lock", "cuda.lock", "cpu.yaml"):
        assert re.search(r"\btorch==[\d.]+$", (ROOT / "envs" / lock).read_text(encoding="utf-8"), re.M)
