"""The whole corpus stage on ten times the input: how much longer it takes, and how much memory its largest job.

    python bench/corpus_growth.py
    python bench/corpus_growth.py --megabytes 300    # 3 GB of text, and as much again on the disk; a quarter of an hour

Makes pages in the format of CC-100, N megabytes and 10 N, and runs every job of the workflow over each, from
fetch_corpus to find_leaks, as a process of its own: exact and near duplicates at 0.8, a shard for every 100 MB. Counted
are the peak resident memory of a process, and its CPU seconds beyond those that it takes to start: what it takes for
half a megabyte.

Prints both as rows, and what the seconds come to for 400 GB on 16 cores: a job a shard runs beside others, a job for
the whole corpus alone. The seconds for more text are those between the two sizes. Not in it: find_leaks reads the
corpus again for each 48 MiB of the tasks' test documents, and disks and networks are slower than the processor.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from corpus_jobs import SPEC
from results import Row, device_name, report
from tsumugi.layout import shard_name
from web_text import write_pages

SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"
GROWTH, WANTED_GROWTH = 10, 11
START_MEGABYTES = 0.5  # what is done with it takes no time to speak of
WANTED_BYTES = 2**30
SHARD_MEGABYTES, FEWEST_SHARDS = 100, 2
FOLDER = Path("results/corpora/made")  # find_leaks looks for it there
A_JOB_A_SHARD = {"normalize_shard", "sign_shard", "clean_shard"}
LEAK_THREADS = 4  # as in the workflow
EXTRAPOLATED_MEGABYTES, CORES = 400_000, 16


@dataclass(frozen=True)
class Cost:
    """Of a process: CPU seconds of all its threads, and the most resident memory in bytes."""

    seconds: float
    peak: int


@dataclass(frozen=True)
class Stage:
    """Of a corpus: its size in megabytes; by script, CPU seconds and number of its jobs, and their peak in bytes."""

    size: float
    seconds: Mapping[str, float]
    jobs: Mapping[str, int]
    peaks: Mapping[str, int]

    def beyond(self, start: "Stage") -> "Stage":
        """The same without the seconds that as many jobs take to start."""
        each = {name: start.seconds[name] / start.jobs[name] for name in self.seconds}
        net = {name: max(0.0, seconds - self.jobs[name] * each[name]) for name, seconds in self.seconds.items()}
        return replace(self, seconds=net)


def run_script(name: str, *arguments: str | Path, folder: Path) -> Cost:
    """Run a script to its end.

    Raises:
        RuntimeError: it failed.
    """
    with (folder / "log").open("w+b") as log:
        line = [sys.executable, SCRIPTS / f"{name}.py", *arguments]
        process = subprocess.Popen(line, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            log.seek(0)
            raise RuntimeError(f"{name} failed:\n{log.read().decode()[-4000:]}")
    return Cost(usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def job_list(shards: int) -> Iterator[tuple[str, list[str | Path]]]:
    """Name and arguments of every job, in an order in which they can run; the spec file is the first argument."""
    names = [shard_name(shard) for shard in range(shards)]
    normalized, signatures, clean = (
        [FOLDER / kind / f"{name}.json" for name in names] for kind in ("shards", "signatures", "clean")
    )
    fetched, sharded, duplicates = FOLDER / "raw.json", FOLDER / "sharded.json", FOLDER / "duplicates.json"
    yield "fetch_corpus", ["--data", "data/made", "--output", fetched]
    outputs = ["--shards", FOLDER / "raw", "--rejected", FOLDER / "rejected.parquet", "--output", sharded]
    yield "shard_corpus", ["--raw", fetched, *outputs]
    for name, output in zip(names, normalized, strict=True):
        raw = FOLDER / f"raw/{name}.parquet"
        yield "normalize_shard", ["--sharded", sharded, "--shard", raw, "--output", output]
    for shard, output in zip(normalized, signatures, strict=True):
        yield "sign_shard", ["--shard", shard, "--output", output]
    yield "find_duplicates", ["--shards", *normalized, "--signatures", *signatures, "--output", duplicates]
    for shard, output in zip(normalized, clean, strict=True):
        given = ["--shard", shard, "--duplicates", duplicates, "--output", output]
        yield "clean_shard", [*given, "--dropped", FOLDER / f"dropped/{shard.stem}.parquet"]
    yield "split_corpus", ["--shards", *clean, "--output", FOLDER / "split/manifest.json"]
    yield "find_leaks", ["--threads", str(LEAK_THREADS), "--output", FOLDER / "split/leaks.json"]


def run_stage(size: float, folder: Path) -> Stage:
    """Make so many megabytes and run every job over them."""
    folder.mkdir()
    size = write_pages(folder / "pages.txt", size) / 1e6
    shards = max(FEWEST_SHARDS, round(size / SHARD_MEGABYTES))
    spec = {**SPEC, "files": ["pages.txt"], "num_shards": shards}
    (folder / "spec.json").write_text(json.dumps(spec), encoding="utf-8")
    leaks = {"leaks": spec["leaks"], "corpus": "made", "tested": ["made"], "num_shards": {"made": shards}}
    (folder / "leaks.json").write_text(json.dumps(leaks), encoding="utf-8")
    seconds, jobs, peaks = Counter[str](), Counter[str](), Counter[str]()
    for name, arguments in job_list(shards):
        given = "leaks.json" if name == "find_leaks" else "spec.json"
        cost = run_script(name, "--spec", given, *arguments, folder=folder)
        seconds[name] += cost.seconds
        jobs[name] += 1
        peaks[name] = max(peaks[name], cost.peak)
    shutil.rmtree(folder)
    return Stage(size, seconds, jobs, peaks)


def rows_of(small: Stage, large: Stage) -> list[Row]:
    """What the two come to."""
    took = [sum(stage.seconds.values()) for stage in (large, small)]
    largest = max(large.peaks, key=large.peaks.__getitem__)
    peak = large.peaks[largest]
    growth = Row(
        "corpus stage, CPU time",
        *(f"{seconds:.1f} s for {stage.size:,.0f} MB" for seconds, stage in zip(took, (large, small), strict=True)),
        took[0] / took[1] / (large.size / small.size) * GROWTH,
        WANTED_GROWTH,
        False,
        device_name(),
    )
    memory = f"{peak / 1e6:,.0f} MB, {largest}, of {large.size:,.0f} MB"
    return [
        growth,
        Row("peak memory of its largest job", memory, "1 GiB", peak / WANTED_BYTES, 1.0, False, device_name()),
    ]


def print_extrapolation(small: Stage, large: Stage) -> None:
    """Hours for 400 GB on 16 cores, script by script."""
    total = 0.0
    print(f"{'job':<18}{'runs':<14}{'CPU s/GB':>10}{'peak, MB':>10}{'hours':>8}   for 400 GB on {CORES} cores")
    for name, seconds in large.seconds.items():
        each = max(0.0, seconds - small.seconds[name]) / (large.size - small.size)
        cores, kind = (CORES, "by the shard") if name in A_JOB_A_SHARD else (1, "alone")
        cores, kind = (LEAK_THREADS, f"{LEAK_THREADS} threads") if name == "find_leaks" else (cores, kind)
        hours = each * EXTRAPOLATED_MEGABYTES / cores / 3600
        total += hours
        print(f"{name:<18}{kind:<14}{1000 * each:>10.1f}{large.peaks[name] / 1e6:>10,.0f}{hours:>8.2f}")
    print(f"{'all':<52}{total:>8.2f}")


def main() -> None:
    """Run both sizes and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=40, help="N: of raw text, and ten times that (%(default)s)")
    parser.add_argument("--output", type=Path, help="write the rows here too, as JSON")
    args = parser.parse_args()
    if args.megabytes < 10:
        parser.error("--megabytes must be at least 10: with less it is starting that takes the time")
    with tempfile.TemporaryDirectory(prefix="tsumugi-corpus-growth-") as scratch:
        folder = Path(scratch)
        run_stage(START_MEGABYTES, folder / "corpus")  # the first time, numba compiles
        sizes = (START_MEGABYTES, args.megabytes, GROWTH * args.megabytes)
        start, *stages = (run_stage(size, folder / "corpus") for size in sizes)
        small, large = (stage.beyond(start) for stage in stages)
    report(rows_of(small, large), args.output)
    print_extrapolation(small, large)


if __name__ == "__main__":
    main()
