"""Numba's compiled code, the same machine code in every process: always out of Numba's cache.

Code that a process has compiled itself rounds otherwise than the same code out of the cache. Of a function that another
one calls there are two copies then, optimized once by itself and once more within its caller, and which of the two runs
depends on what the process has loaded before. So the process that computes never compiles: another one does, and this
one loads what it has left in the cache.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from numba.core import event

COMPILING = "TSUMUGI_COMPILING"  # environment variable: set in the process that compiles


class _NotInCacheError(Exception):
    pass


class _Refusal(event.Listener):
    """Stops a compilation before it begins."""

    def on_start(self, event: Any) -> None:
        raise _NotInCacheError

    def on_end(self, event: Any) -> None:
        pass


def load_or_compile(call: Callable[[], None], module: str) -> None:
    """Load the compiled code of a module; where there is none, another process compiles it first.

    Args:
        call: calls each compiled function of the module once.
        module: whose ``compile_kernels`` does the same in the other process.
    """
    if COMPILING in os.environ:
        call()
        return
    if _loads(call):
        return
    search = os.pathsep.join(path for path in sys.path if path)
    environment = os.environ | {COMPILING: "1", "PYTHONPATH": search}
    subprocess.run([sys.executable, "-c", f"import {module} as m; m.compile_kernels()"], env=environment, check=False)
    if not _loads(call):  # its cache cannot be written, or its own process has failed: what is wrong shows here
        call()


def _loads(call: Callable[[], None]) -> bool:
    try:
        with event.install_listener("numba:compile", _Refusal()):
            call()
    except _NotInCacheError:
        return False
    return True
