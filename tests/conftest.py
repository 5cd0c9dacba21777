"""How the tests share two cores: those on Slurm, which mostly wait, run beside the others (`pytest -n 2`)."""

import signal
from pathlib import Path

import pytest

WHOLE = ("cluster", "workflow")  # folders whose tests share what is made once, and take longest: they start first
TABLE = "table"  # `record_property` under this name: text that the summary shows


def pytest_configure():
    """Let SIGTERM, as `timeout` sends it, end the tests like Ctrl-C: what they have started is stopped."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def pytest_collection_modifyitems(items):
    """Put the long folders first, and keep what shares fixtures in one process: a folder, or a file."""
    for item in items:
        folder = _folder(item)
        item.add_marker(pytest.mark.xdist_group(folder if folder in WHOLE else item.path.stem))
    items.sort(key=lambda item: _folder(item) not in WHOLE)


def pytest_terminal_summary(terminalreporter):
    """Show the tables that tests have recorded; what they print is hidden, and lost where several processes run."""
    for report in terminalreporter.getreports("passed"):
        for table in (value for name, value in report.user_properties if name == TABLE and report.when == "call"):
            terminalreporter.section(report.nodeid)
            terminalreporter.write_line(table)


def _folder(item):
    return item.path.relative_to(Path(__file__).parent).parts[0]
