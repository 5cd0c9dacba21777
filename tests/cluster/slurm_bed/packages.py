"""Debian's packages of Slurm: are they there, and how they come without starting or changing anything."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from slurm_bed.errors import BedError
from slurm_bed.settings import MARK

# program -> the package that brings it
PROGRAMS = {
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "sbatch": "slurm-client",
    "munged": "munge",
    "slurmdbd": "slurmdbd",
    "mariadbd": "mariadb-server-core",
    "mariadb-install-db": "mariadb-server-core",
    "mariadb": "mariadb-client-core",
}
DATABASE_PLUGIN = "slurm-wlm-mysql-plugin"  # a library, no program
SERVICES = ("munge", "slurmctld", "slurmd", "slurmdbd")
POLICY = Path("/usr/sbin/policy-rc.d")
SEARCH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/bin", "/sbin", "/bin"])


def missing_packages() -> list[str]:
    """The packages that a virtual Slurm needs and that are not installed."""
    missing = {package for program, package in PROGRAMS.items() if not shutil.which(program, path=SEARCH)}
    if not list(Path("/usr/lib").glob("*/slurm*/accounting_storage_mysql.so")):
        missing.add(DATABASE_PLUGIN)
    return sorted(missing)


def require_packages() -> None:
    """Raise :class:`BedError` if a package that a virtual Slurm needs is missing."""
    if missing := missing_packages():
        how = "`python tests/cluster/virtual_slurm.py install` brings them"
        raise BedError(f"packages are missing: {' '.join(missing)}; {how}")


def install() -> list[str]:
    """Install the missing packages with apt-get; return their names. No service runs or is enabled afterwards.

    Raises :class:`BedError` where packages are missing and this is not root on a Debian-like machine, or where the
    machine looks like part of a real cluster: what is installed there is its administrators' business.
    """
    missing = missing_packages()
    if not missing:
        return []
    advice = f"packages are missing: {' '.join(missing)}"
    if signs := signs_of_a_cluster():
        raise BedError(f"{advice}; not installing them, since this machine seems to be part of a cluster: {signs[0]}")
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise BedError(f"{advice}; installing them needs root and apt-get (Debian, Ubuntu): install them by hand")
    new_services = [name for name in SERVICES if not Path(f"/etc/init.d/{name}").exists()]
    with _no_service_starts():
        _apt("update", "-qq")
        _apt("install", "-y", "-qq", "--no-install-recommends", *missing)
    for name in new_services:
        subprocess.run(["update-rc.d", name, "disable"], check=True, capture_output=True)
    return missing


def signs_of_a_cluster() -> list[str]:
    """What on this machine speaks of a Slurm that is not one of ours, in words; empty if nothing does."""
    signs = [f"{path} exists" for path in sorted(Path("/etc").glob("slurm*/slurm.conf"))]
    if "SLURM_JOB_ID" in os.environ:
        signs.append("SLURM_JOB_ID is set: this is a job of Slurm")
    if (named := os.environ.get("SLURM_CONF")) and not is_ours(Path(named)):
        signs.append(f"SLURM_CONF is set: {named}")
    for process in Path("/proc").glob("[0-9]*"):
        try:
            program = (process / "comm").read_text().strip()
            if program in ("slurmctld", "slurmd", "slurmdbd", "slurmrestd") and not _started_by_us(process):
                signs.append(f"{program} runs here (process {process.name})")
        except OSError:  # it has ended
            continue
    return signs


def is_ours(slurm_conf: Path) -> bool:
    """Is this the slurm.conf of a virtual cluster?"""
    return (slurm_conf.parent.parent / MARK).exists()


def _started_by_us(process: Path) -> bool:
    variables = (process / "environ").read_bytes().split(b"\0")
    named = [value[len(b"SLURM_CONF=") :] for value in variables if value.startswith(b"SLURM_CONF=")]
    return bool(named) and is_ours(Path(os.fsdecode(named[0])))


@contextmanager
def _no_service_starts() -> Iterator[None]:
    """While packages are unpacked, Debian asks policy-rc.d whether a service may start: no. One that is there stays."""
    if POLICY.exists():
        yield
        return
    POLICY.write_text("#!/bin/sh\nexit 101\n")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink()


def _apt(*arguments: str) -> None:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    line = ["apt-get", "-o", "DPkg::Lock::Timeout=120", *arguments]
    done = subprocess.run(line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise BedError(f"{' '.join(line)} failed:\n{done.stdout[-2000:]}")
