"""Start and stop the virtual Slurm, and what can happen to it: a node without power, a controller that is away."""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from slurm_bed.errors import BedError
from slurm_bed.hosts import on_host, power_off, processes, require_namespaces
from slurm_bed.packages import SEARCH, require_packages
from slurm_bed.settings import CLUSTER, HEAD, MARK, NODES, write_configuration

LONGEST_COMMAND = 600  # seconds; an srun for a node that is away would wait for good
LONGEST_FOLDER = 70  # a socket's path holds 107 bytes, and slurmd puts one below spool/NODE/
# What Slurm's commands read besides their options.
OTHERS_VARIABLES = re.compile(r"(SLURM|SBATCH|SALLOC|SRUN|SACCT|SACCTMGR|SINFO|SQUEUE|SCANCEL|SCONTROL|SSTAT|SPRIO)_")
HOSTS = (HEAD, *(node.name for node in NODES))


def require_machine() -> None:
    """Raise :class:`BedError`, in one line, if no virtual Slurm can run here: not root, or packages are missing."""
    require_namespaces()
    require_packages()


class VirtualSlurm:
    """The virtual Slurm in ``folder``: a head (controller, accounts) and the nodes of ``slurm_bed.settings.NODES``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()

    @property
    def variables(self) -> dict[str, str]:
        """What a shell must have set so that Slurm's commands mean this cluster."""
        return {"SLURM_CONF": str(self.folder / "conf/slurm.conf")}

    @property
    def env(self) -> dict[str, str]:
        """This process's environment without any other Slurm's variables, and with this cluster's."""
        kept = {name: value for name, value in os.environ.items() if not OTHERS_VARIABLES.match(name)}
        return kept | {"PATH": SEARCH} | self.variables

    def start(self) -> None:
        """Start everything in the folder, which is made; one of an earlier start is emptied first.

        Raises :class:`BedError` if the folder is not ours, something already runs in it, this is not root, packages
        are missing, or not every node becomes idle.
        """
        self._prepare()
        try:
            self._start_munge()
            self._start_accounting()
            self._daemon(HEAD, "slurmctld")
            for node in NODES:
                self._daemon(node.name, "slurmd", "-N", node.name)
            self.wait_until("every node is idle", lambda: set(self.node_states().values()) == {"idle"})
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End every process of the cluster, its jobs' too; the files stay for reading. Does nothing twice."""
        self._require_ours()
        power_off(self.folder, HOSTS)

    def kill_node(self, name: str) -> None:
        """Take the power from a node: slurmd, job steps and everything they started are gone at once."""
        self._require_node(name)
        power_off(self.folder, [name])

    def revive_node(self, name: str) -> None:
        """Give a node its power back, and wait until the controller uses it again."""
        self._require_node(name)
        if processes(self.folder, name):
            raise BedError(f"node {name} of {self.folder} has not been killed")
        self._daemon(name, "slurmd", "-N", name)
        self.wait_until(f"{name} is back", lambda: self.node_states().get(name) in ("idle", "mixed", "allocated"))

    def restart_controller(self, away: float = 0.0) -> None:
        """Stop slurmctld as an administrator does, leave it away for so many seconds, and start it again."""
        self._require_running()
        pid = int((self.folder / "pid/slurmctld.pid").read_text())
        if pid in processes(self.folder, HEAD):
            os.kill(pid, signal.SIGTERM)
        self.wait_until("slurmctld has ended", lambda: pid not in processes(self.folder, HEAD))
        time.sleep(away)
        self._daemon(HEAD, "slurmctld")
        self.wait_until("slurmctld answers", lambda: bool(self.node_states()))

    def clear(self) -> None:
        """Bring everything back to how :meth:`start` left it: the controller answers, no jobs, every node idle."""
        self._require_running()
        if not self.node_states():
            self.restart_controller()
        for node in NODES:
            if not processes(self.folder, node.name):
                self.revive_node(node.name)
        if jobs := self.run("squeue", "--noheader", "--format=%A").stdout.split():
            self.run("scancel", *jobs)
        self.wait_until("every node is idle", lambda: set(self.node_states().values()) == {"idle"}, 120)

    def run(self, *command: str | Path, check: bool = True, **options: object) -> subprocess.CompletedProcess[str]:
        """Run a command on the head, with :attr:`env`; output and errors come back as text.

        ``options`` go to :func:`subprocess.run`. With ``check``, a command that fails raises :class:`BedError` with
        what it printed; one that takes too long raises :class:`subprocess.TimeoutExpired`. It runs on the head
        because srun listens on the address of its host's name, which on a real machine need not be 127.0.0.1.
        """
        settings = {"env": self.env, "capture_output": True, "text": True, "stdin": subprocess.DEVNULL}
        settings |= {"timeout": LONGEST_COMMAND} | options
        done = subprocess.run(on_host(self.folder, HEAD, command), check=False, **settings)
        if check and done.returncode != 0:
            raise BedError(f"{' '.join(map(str, command))}: status {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def node_states(self) -> dict[str, str]:
        """Node -> its state as sinfo says it (``idle``, ``mixed``, ``down*`` …); empty if slurmctld does not answer."""
        done = self.run("sinfo", "--noheader", "--Node", "--format=%N %T", check=False, timeout=60)
        return dict(line.split() for line in done.stdout.splitlines()) if done.returncode == 0 else {}

    def sacct(self, job: int | str, field: str) -> str:
        """What the accounts say of a job, as ``State``, ``NodeList`` or ``AllocTRES``; empty while they know nothing.

        They lag some seconds behind. Of a job that was requeued this is its latest run.
        """
        options = ["--allocations", "--noheader", "--parsable2", f"--jobs={job}", f"--format={field}"]
        return self.run("sacct", *options, timeout=60).stdout.strip()

    def wait_for_job(self, job: int | str, *states: str, seconds: float = 120) -> None:
        """Wait until the accounts say that a job is in one of these states (``RUNNING``, ``COMPLETED`` …)."""
        try:
            self.wait_until(f"job {job} is {' or '.join(states)}", lambda: self._state(job) in states, seconds)
        except BedError as error:
            raise BedError(f"{error}\nit is {self._state(job) or 'unknown to sacct'}") from None

    def wait_until(self, what: str, reached: Callable[[], bool], seconds: float = 60) -> None:
        """Wait until ``reached()``; after so many seconds raise :class:`BedError` with the ends of the logs."""
        end = time.monotonic() + seconds
        while not reached():
            if time.monotonic() > end:
                raise BedError(f"waited {seconds:g} s in vain until {what}\n{self._ends_of_logs()}")
            time.sleep(0.1)

    def _state(self, job: int | str) -> str:
        return self.sacct(job, "State").split(" ")[0]  # without the "by 0" of "CANCELLED by 0"

    def _prepare(self) -> None:
        require_machine()
        if self.folder.exists():
            self._require_ours()
            if any(processes(self.folder, name) for name in HOSTS):
                raise BedError(f"{self.folder}: this virtual Slurm runs already; stop it first")
            shutil.rmtree(self.folder)
        if len(str(self.folder)) > LONGEST_FOLDER:
            raise BedError(
                f"{self.folder}: a socket's path must be short, so name one of at most {LONGEST_FOLDER} letters"
            )
        self.folder.mkdir(mode=0o711, parents=True)
        (self.folder / MARK).touch()
        for part in ("conf", "database", "hosts", "log", "munge", "pid", "spool", "state"):
            (self.folder / part).mkdir(mode=0o700 if part == "database" else 0o755)
        for node in NODES:
            (self.folder / "spool" / node.name).mkdir()
        write_configuration(self.folder)

    def _start_munge(self) -> None:
        own = self.folder / "munge"
        (own / "key").touch(0o600)
        (own / "key").write_bytes(os.urandom(128))
        files = {"key-file": own / "key", "socket": own / "socket", "seed-file": own / "seed"}
        files |= {"pid-file": self.folder / "pid/munged.pid", "log-file": self.folder / "log/munged.log"}
        self._daemon(HEAD, "munged", "--force", *(f"--{option}={path}" for option, path in files.items()))
        self.wait_until("munged answers", lambda: self._succeeds("munge", "--socket", own / "socket", "--no-input"))

    def _start_accounting(self) -> None:
        own = self.folder / "database"
        # Not in /tmp, where two that start at the same time take each other's temporary tables.
        where = [f"--datadir={own}/data", f"--tmpdir={own}", "--user=root"]
        self._daemon(
            HEAD, "mariadb-install-db", "--no-defaults", *where,
            "--auth-root-authentication-method=normal", "--skip-test-db",
        )  # fmt: skip
        # It has no port: only its socket, in a folder that is closed to others. Small, for a few hundred rows.
        self._daemon(
            HEAD, "setsid", "--fork", "mariadbd", "--no-defaults", *where, "--skip-networking",
            f"--socket={own}/socket", f"--pid-file={self.folder}/pid/mariadbd.pid", "--innodb-buffer-pool-size=64M",
            "--innodb-log-file-size=16M", "--innodb-lock-wait-timeout=900", "--innodb-flush-log-at-trx-commit=0",
        )  # fmt: skip
        database = ["mariadb", "--no-defaults", f"--socket={own}/socket", "--execute=select 1"]
        self.wait_until("mariadbd answers", lambda: self._succeeds(*database))
        self._daemon(HEAD, "slurmdbd")
        # slurmctld must find itself in the accounts when it comes up
        known = ["sacctmgr", "--immediate", "add", "cluster", CLUSTER]
        self.wait_until("slurmdbd answers", lambda: self._succeeds(*known))

    def _daemon(self, host: str, *command: str | Path) -> None:
        """Run a program that goes to the background by itself; what it prints until then is in log/NAME.out."""
        # slurmdbd asks the database library for "localhost", and that takes the socket from MYSQL_UNIX_PORT
        environment = {"PATH": SEARCH, "LANG": "C.UTF-8", "MYSQL_UNIX_PORT": str(self.folder / "database/socket")}
        log = self.folder / "log" / f"{host}.{Path(command[0]).name}.out"
        with log.open("ab") as output:
            done = subprocess.run(
                on_host(self.folder, host, command), env=environment | self.variables, cwd=self.folder,
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip
        if done.returncode != 0:
            raise BedError(f"{command[0]} did not start (status {done.returncode})\n{self._ends_of_logs()}")

    def _succeeds(self, *command: str | Path) -> bool:
        return self.run(*command, check=False, timeout=60).returncode == 0

    def _ends_of_logs(self) -> str:
        texts = {path: path.read_text(errors="replace") for path in sorted((self.folder / "log").iterdir())}
        return "\n".join("\n".join([f"{path}:", *text.splitlines()[-5:]]) for path, text in texts.items() if text)

    def _require_ours(self) -> None:
        if not (self.folder / MARK).exists():
            raise BedError(f"{self.folder} is not the folder of a virtual Slurm: name one that does not exist yet")

    def _require_running(self) -> None:
        self._require_ours()
        if not processes(self.folder, HEAD):
            raise BedError(f"{self.folder}: this virtual Slurm does not run; start it first")

    def _require_node(self, name: str) -> None:
        self._require_running()
        if name not in HOSTS[1:]:
            raise BedError(f"there is no node {name!r}; the nodes are {', '.join(HOSTS[1:])}")
