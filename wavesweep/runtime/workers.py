"""The processes that joblib starts for a sweep: none outlives the command, and Ctrl-C is the command's business.

This module imports nothing heavy, so that a worker is bound to its parent before it spends seconds on PyTorch.
"""

import ctypes
import importlib
import multiprocessing
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def init_worker(preload: str) -> None:
    """Prepare this process if it is a worker: it dies with its parent, ignores Ctrl-C, and has imported `preload`.

    In any other process, and when called again, it does nothing that matters.
    """
    if not die_with_parent():
        return
    # A terminal sends Ctrl-C to all processes. The parent stops its workers; each would print a traceback otherwise.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "SIGHUP"):  # likewise, when it is closed
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    importlib.import_module(preload)  # while the other workers do the same, not when the first trial comes


def worker_number() -> int | None:
    """Which of joblib's workers this process is, from 0; None if it is none."""
    name, _, number = multiprocessing.current_process().name.rpartition("-")
    return int(number) - 1 if name == "LokyProcess" and number.isdigit() else None


def die_with_parent() -> bool:
    """Have the kernel kill this worker when its parent ends in any way, `kill -9` too; whether this is a worker.

    Only Linux can do that; elsewhere joblib's workers end after some minutes without work.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return False
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent.pid:  # it ended before the kernel knew
            os._exit(1)
    return True
