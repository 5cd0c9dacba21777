"""The one exception that a user is meant to read, and the wrapper that every command line goes through."""

import os
import sys
from collections.abc import Callable

NOT_RETRIED = "This error is not retried"  # what stands in the log of a job that would fail again in the same way


class TsumugiError(Exception):
    """Something the user can fix. The message names the file and the line or key, what was found, and what to do."""


class ConfigurationError(TsumugiError):
    """What was asked for cannot be done, on whatever machine and however often: the configuration has to change."""


def first_line(error: BaseException) -> str:
    """What an exception says first, or its name where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def run_cli(main: Callable[[], None]) -> None:
    """Run a script's ``main``; print a :class:`TsumugiError` without its traceback and leave with status 1.

    Of a :class:`ConfigurationError` it says too that it would come again, which keeps Snakemake from retrying the job.

    Any other exception is a defect of ours and keeps its traceback.
    """
    try:
        main()
    except TsumugiError as error:
        print(f"error: {error}", file=sys.stderr)
        if isinstance(error, ConfigurationError):
            print(f"{NOT_RETRIED}: change the configuration, then start Snakemake again", file=sys.stderr)
        raise SystemExit(1) from None
    except BrokenPipeError:  # whoever reads our output has seen enough, as head does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still to be written goes nowhere
        raise SystemExit(1) from None
