"""Runs on the virtual Slurm that something happens to, and what Slurm and the manifests say of them afterwards."""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file

from slurm_bed.cluster import VirtualSlurm
from slurm_bed.hosts import processes
from through_slurm import ENVIRONMENT, command
from tiny_experiment import ROOT
from tsumugi.provenance import read_manifest

STEPS, GLOBAL_BATCH = 120, 24  # enough to be in the middle of it when the first checkpoint is seen
PATIENCE = 900  # seconds, for whatever is waited for: on a slow machine a training alone takes minutes
KIND_OF = {"a48-1": "a48", "v32-1": "v32", "cpu-1": "cpu"}


class Start(NamedTuple):
    """One start of a job, as Slurm's accounts have it."""

    job: str
    state: str
    node: str


def alike(*names: str, change: Callable[[dict[str, Any]], None] = lambda config: None) -> Callable[..., None]:
    """Nothing but runs of these names, all of them the same training without dropout; then ``change`` to them."""

    def changed(config: dict[str, Any]) -> None:
        longer = {"steps": STEPS, "eval_every": STEPS, "global_batch": GLOBAL_BATCH}
        config["recipes"] = {"scratch": config["recipes"]["scratch"] | longer}
        config["runs"] = {name: dict(config["runs"]["rwkv-base"]) for name in names}
        del config["tasks"], config["reports"]
        change(config)

    return changed


def manifest_path(run: str) -> str:
    """Of a run, below the working folder."""
    return f"results/models/{run}/seed1/manifest.json"


class Scene:
    """A working folder, Snakemake in the background there, and its jobs."""

    def __init__(self, cluster: VirtualSlurm, folder: Path, config: Path, prepared: Path) -> None:
        self.cluster, self.folder, self.config = cluster, folder, config
        shutil.copytree(prepared, folder, symlinks=True, dirs_exist_ok=True)
        self.screen = folder / "screen.txt"
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start Snakemake; what it says goes to :attr:`screen`, after what the starts before it have said."""
        line = command(self.cluster, self.folder, self.config, *arguments)
        with self.screen.open("ab") as screen:
            settings = {"stdin": subprocess.DEVNULL, "stdout": screen, "stderr": subprocess.STDOUT}
            process = subprocess.Popen(line, cwd=ROOT, env=self.cluster.env | ENVIRONMENT, **settings)
        self.started.append(process)
        return process

    def end(self, process: subprocess.Popen[bytes]) -> int:
        """The status with which a Snakemake ends by itself."""
        self.wait("Snakemake ends", lambda: process.poll() is not None)
        return process.returncode

    def close(self) -> None:
        """End what a failed test has left running."""
        for process in self.started:
            process.kill()
            process.wait()

    def said(self) -> str:
        """All that Snakemake has printed so far."""
        return self.screen.read_text(encoding="utf-8") if self.screen.exists() else ""

    def wait(
        self,
        what: str,
        reached: Callable[[], object],
        process: subprocess.Popen[bytes] | None = None,
        every: float = 0.3,
    ) -> None:
        """Wait for something, for as long as ``process`` runs; look ``every`` so many seconds."""
        end = time.monotonic() + PATIENCE
        while not reached():
            assert time.monotonic() < end, f"waited in vain until {what}\n{self.situation()}"
            assert process is None or process.poll() is None, f"Snakemake ended before {what}\n{self.situation()}"
            time.sleep(every)

    def situation(self) -> str:
        """What somebody asks first who sees a test fail: Slurm's jobs and nodes, the checkpoints, the last words."""
        asked = ("squeue", "--format=%i %T %M %N %r %Z"), ("sinfo", "--Node", "--format=%N %T %E")
        answers = [done.stdout + done.stderr for done in (self.cluster.run(*line, check=False) for line in asked)]
        saved = sorted(str(step.relative_to(self.folder)) for step in self.folder.glob("state/*/*/*/step*"))
        ran = [" ".join(map(str, start)) for start in self.starts()]
        return "\n".join([*answers, *ran, *saved, self.said()[-2000:]])

    def jobs(self, run: str) -> list[str]:
        """Slurm's numbers of a run's training jobs, in the order in which Snakemake named them."""
        said = re.findall(rf"SLURM jobid (\d+) \(log: \S*/rule_train_model/{run}_1/", self.said())
        return list(dict.fromkeys(said))

    def starts(self, run: str | None = None) -> list[Start]:
        """What Slurm's accounts say of each start of the jobs of a run, or of all jobs of this folder."""
        options = ["--allocations", "--duplicates", "--noheader", "--parsable2", "--starttime=now-1days"]
        fields = "JobID,State,NodeList,WorkDir"
        rows = self.cluster.run("sacct", *options, f"--format={fields}").stdout.splitlines()
        found = [row.split("|") for row in rows]
        jobs = None if run is None else self.jobs(run)
        return [
            Start(job, state.split()[0], node)
            for job, state, node, folder in found
            if folder == str(self.folder) and (jobs is None or job in jobs)
        ]

    def logs(self, run: str) -> str:
        """What the jobs of a run have printed, as far as the logs are there: those of finished jobs are removed."""
        folder = self.folder / f".snakemake/slurm_logs/rule_train_model/{run}_1"
        return "".join(
            f"{log.name}:\n{log.read_text(encoding='utf-8')[-4000:]}" for log in sorted(folder.glob("*.log"))
        )

    def queue(self, *options: str) -> list[str]:
        """The lines of squeue; while the controller is away it is asked again, as a user would."""
        done = self.cluster.run("squeue", "--noheader", *options, check=False)
        end = time.monotonic() + PATIENCE
        while done.returncode != 0 and "Unable to contact slurm controller" in done.stderr:
            assert time.monotonic() < end, done.stderr
            time.sleep(0.3)
            done = self.cluster.run("squeue", "--noheader", *options, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    def node_of(self, run: str) -> str:
        """Where the latest job of a run is at work; empty while it is not."""
        running = dict(line.split() for line in self.queue("--states=RUNNING", "--format=%i %N"))
        return running.get(self.jobs(run)[-1], "")

    def saved_step(self, run: str) -> int:
        """The step of a run's newest checkpoint; 0: there is none."""
        steps = (self.folder / f"state/{run}/seed1").glob("*/step*")
        return max((int(step.name.removeprefix("step")) for step in steps), default=0)

    def trainers(self, run: str) -> list[int]:
        """Process ids of a run's training, on whatever node; Slurm need not be asked, which takes its time."""
        found = []
        for pid in chain.from_iterable(processes(self.cluster.folder, node) for node in KIND_OF):
            with suppress(OSError):  # it has just ended
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                if b"--checkpoint-seconds" in words and f"state/{run}/seed1".encode() in words:
                    found.append(pid)
        return found

    def execution(self, run: str) -> dict[str, Any]:
        """What the manifest of a finished run says of how it was trained."""
        return read_manifest(self.folder / manifest_path(run))["execution"]

    def hold(self, *runs: str, after: int = 0, process: subprocess.Popen[bytes] | None = None) -> None:
        """Let each run stand still when it has a checkpoint later than step ``after``.

        So what happens to it finds it in the middle, however long that takes, and it costs the others nothing. Slurm
        wakes what it ends; :meth:`go_on` wakes the rest.
        """
        held: set[str] = set()

        def all_held() -> bool:
            for run in runs:
                if run not in held and self.saved_step(run) > after:
                    assert self._signal(run, signal.SIGSTOP), f"{run} is over before it could be stopped"
                    held.add(run)
            return len(held) == len(runs)

        self.wait(f"{' and '.join(runs)} train", all_held, process)

    def go_on(self, run: str) -> None:
        """Wake a run that :meth:`hold` has stopped."""
        self._signal(run, signal.SIGCONT)

    def use_up_time(self, run: str, left: int, process: subprocess.Popen[bytes]) -> None:
        """Wake a run, as on a slow machine, when its job has no more than ``left`` seconds."""
        job = self.jobs(run)[-1]

        def seconds() -> int:
            minutes, rest = self.queue(f"--jobs={job}", "--format=%L")[0].split(":")
            return 60 * int(minutes) + int(rest)

        self.wait("its time runs out", lambda: seconds() <= left, process)
        self.go_on(run)

    def _signal(self, run: str, number: signal.Signals) -> list[int]:
        pids = self.trainers(run)
        for pid in pids:
            os.kill(pid, number)
        return pids


def weights(folder: Path, run: str) -> torch.Tensor:
    """All weights of a finished run, as one vector."""
    tensors = load_file(folder / f"results/models/{run}/seed1/model.safetensors")
    return torch.cat([tensors[name].flatten() for name in sorted(tensors)])
