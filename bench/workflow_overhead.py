"""How long the workflow takes without doing anything: planning a large experiment, and starting a job on Slurm.

    python bench/workflow_overhead.py

The large experiment is experiments/own_articles.yaml with 1,000 shards and 20 runs. It is planned as a user would have
it planned: by `snakemake -n` where nothing has been made, with every job printed, and by `snakemake` where everything
is there and nothing is to be done. What is there are files without meaning, recorded by `snakemake --touch`.

The job on Slurm is one of the workflow's own, sent through profiles/cluster to the virtual Slurm of the tests while it
is idle. Its time runs from Snakemake's decision to start the job until the shell command of its rule runs. Without root
or Debian's Slurm there is no such row.

Every figure is the median of three; each ratio is its seconds over those that it may take.
"""

import argparse
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from results import Row, device_name, report

if TYPE_CHECKING:
    from slurm_bed.cluster import VirtualSlurm

ROOT = Path(__file__).resolve().parent.parent
SHARDS, RUNS = 1000, 20
REPEATS = 3
MAY_TAKE = {"dry run": 10.0, "nothing to do": 12.0, "start of a job": 8.0}  # seconds
# `snakemake`, but without the tenth of a second that --touch waits for each job, one after another.
TOUCH = (
    "from snakemake import cli; from snakemake.executors.touch import Executor; Executor.SLEEPING_TIME = 0; cli.main()"
)
RULE = "fetch_corpus"  # the one that is started on Slurm


@dataclass(frozen=True)
class Seconds:
    """What a command took: by the clock, and of the processors, in this process' children."""

    wall: float
    cpu: float

    def __str__(self) -> str:
        return f"{self.wall:.2f} s ({self.cpu:.2f} s of CPU)"


def median(found: Sequence[Seconds]) -> Seconds:
    """The one in the middle by the clock."""
    return sorted(found, key=lambda seconds: seconds.wall)[len(found) // 2]


def write_experiment(folder: Path) -> None:
    """``folder/experiment.yaml`` and an article: half of the runs train on the corpus, half are tuned on the task."""
    config = yaml.safe_load((ROOT / "experiments/own_articles.yaml").read_text(encoding="utf-8"))
    config["corpora"]["notes"]["num_shards"] = SHARDS
    given, runs, compared = config["runs"], {}, []
    for number in range(RUNS // 4):
        for kind in ("rwkv", "t5"):
            base, tuned = f"{kind}-base-{number}", f"{kind}-write-{number}"
            runs |= {base: given[f"{kind}-base"], tuned: given[f"{kind}-write"] | {"init_from": base}}
            compared.append(tuned)
    config["runs"] = runs
    config["reports"]["write"]["runs"] = compared
    (folder / "experiment.yaml").write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")
    (folder / "articles").mkdir()
    (folder / "articles/one.jsonl").write_text('{"title": "題", "body": "本文", "kind": "種"}\n', encoding="utf-8")


def snakemake(folder: Path, *arguments: str, start: Sequence[str] = ("-m", "snakemake")) -> tuple[str, Seconds]:
    """Run it to its end: what it printed, and what it took."""
    line = [sys.executable, *start, "--snakefile", ROOT / "Snakefile", "--configfile", "experiment.yaml", *arguments]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(line, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        raise RuntimeError(f"snakemake failed:\n{done.stdout[-4000:]}")
    return done.stdout, Seconds(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def make_everything(folder: Path, plan: str) -> None:
    """Write every output that ``plan``, a dry run, names, and have Snakemake record it."""
    for outputs in re.findall(r"^    output: (.*)$", plan, re.M):
        for path in (folder / name for name in outputs.split(", ")):
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix:
                path.write_text("{}\n", encoding="utf-8")
            else:  # the raw shards
                path.mkdir()
    snakemake(folder, "--touch", "--cores", str(2 * SHARDS), "--quiet", start=("-c", TOUCH))


def measure_planning() -> list[Row]:
    """Plan the experiment from nothing, and again when all of it is there."""
    with tempfile.TemporaryDirectory(prefix="tsumugi-workflow-overhead-") as scratch:
        folder = Path(scratch)
        write_experiment(folder)
        plans = [snakemake(folder, "--cores", "2", "-n") for _ in range(REPEATS)]
        plan = plans[0][0]
        if f"train_model {RUNS}" not in re.sub(" +", " ", plan):
            raise RuntimeError(f"this is not a plan for {RUNS} runs:\n{plan[-4000:]}")
        make_everything(folder, plan)
        again = [snakemake(folder, "--cores", "2") for _ in range(REPEATS)]
        if not all("Nothing to be done" in output for output, _ in again):
            raise RuntimeError(f"something was still to be done:\n{again[0][0][-4000:]}")
    size = f"{SHARDS:,} shards, {RUNS} runs"
    return [
        row("dry run", f"dry run, {size}", median([seconds for _, seconds in plans])),
        row("nothing to do", f"nothing to do, {size}", median([seconds for _, seconds in again])),
    ]


def measure_start() -> list[Row]:
    """Start a job on an idle virtual Slurm; no row, but a word, where there can be none."""
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests/cluster")]
    from slurm_bed.cluster import VirtualSlurm, require_machine
    from slurm_bed.errors import BedError

    try:
        require_machine()
    except BedError as reason:
        print(f"no Slurm here, and no row for the start of a job: {reason}", file=sys.stderr)
        return []
    with tempfile.TemporaryDirectory(prefix="tsumugi-slurm-") as scratch:
        slurm = VirtualSlurm(Path(scratch) / "slurm")
        slurm.start()
        try:
            seconds = [start_of_job(slurm, Path(scratch) / f"experiment{number}") for number in range(REPEATS)]
        finally:
            slurm.stop()
    return [row("start of a job", "a job of the workflow, submitted to running", statistics.median(seconds))]


def start_of_job(slurm: "VirtualSlurm", folder: Path) -> float:
    """Seconds from Snakemake's decision to start a job until the job's shell command has opened its log."""
    from through_slurm import ENVIRONMENT, command, write_config
    from tiny_experiment import write_articles

    folder.mkdir()
    write_articles(folder / "articles")
    config = write_config(folder / "experiment.yaml", {})
    log = folder / f"logs/{RULE}/notes.log"
    line = command(slurm, folder, config, "results/corpora/notes/raw.json")
    environment = slurm.env | ENVIRONMENT
    with subprocess.Popen(
        line, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as run:
        began, output = None, []
        for text in run.stdout:
            output.append(text)
            if text.startswith(f"rule {RULE}:"):
                began = time.perf_counter()
                while not log.exists() and run.poll() is None:
                    time.sleep(0.01)
                seconds = time.perf_counter() - began
    if run.returncode != 0 or began is None or not log.exists():
        raise RuntimeError(f"snakemake failed:\n{''.join(output)[-4000:]}")
    return seconds


def row(limit: str, name: str, took: Seconds | float) -> Row:
    """The row of a figure, against the seconds that it may take."""
    wall = took.wall if isinstance(took, Seconds) else took
    ours = str(took) if isinstance(took, Seconds) else f"{took:.2f} s"
    return Row(name, ours, f"{MAY_TAKE[limit]:g} s allowed", wall / MAY_TAKE[limit], 1.0, False, device_name())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="write the rows here too, as JSON")
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    report([*measure_planning(), *measure_start()], args.output)


if __name__ == "__main__":
    main()
