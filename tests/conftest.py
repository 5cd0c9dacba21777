"""How the tests share two cores: those on Slurm, which mostly wait, run beside two times others (`pytest -n 3`)."""

import os
import signal
from pathlib import Path

import pytest

# Before torch is loaded, and for all that the tests start: several processes share these cores, and OpenMP's threads,
# which by default spin while they wait for one another, would take them from those that have something to compute.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

WHOLE = ("cluster", "workflow")  # folders whose tests share what is made once, and take longest: they start first
TABLE = "table"  # `record_property` under this name: text that the summary shows


def pytest_configure():
    """Let SIGTERM, as `timeout` sends it, end the tests like Ctrl-C: what they have started is stopped.

    Ctrl-C itself too: a shell that starts the tests with `&` has it ignored, by what the tests start as well. So has
    `nohup` SIGHUP; the tests go on without regard to it, and what they start does not inherit that.
    """
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: None)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)


def pytest_collection_modifyitems(items):
    """Put the long folders first."""
    items.sort(key=lambda item: _parts(item.nodeid)[0] not in WHOLE)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Keep what shares fixtures in one process: a folder, or a file. Marks for groups do nothing under pytest 9.2."""
    from xdist.scheduler import LoadScopeScheduling

    class Sharing(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            folder, file = _parts(nodeid)
            return folder if folder in WHOLE else file

    return Sharing(config, log)


def pytest_terminal_summary(terminalreporter):
    """Show the tables that tests have recorded; what they print is hidden, and lost where several processes run."""
    for report in terminalreporter.getreports("passed"):
        for table in (value for name, value in report.user_properties if name == TABLE and report.when == "call"):
            terminalreporter.section(report.nodeid)
            terminalreporter.write_line(table)


def _parts(nodeid):
    """The folder below tests, and the file."""
    file = Path(nodeid.partition("::")[0])
    return file.relative_to("tests").parts[0], file.name
