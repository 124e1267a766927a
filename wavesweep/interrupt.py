"""Ctrl-C, remembered: libraries below may turn KeyboardInterrupt into an exception of their own, or swallow it."""

import signal
import threading
from types import FrameType

_asked_to_stop = threading.Event()


def listen() -> None:
    """From now on remember Ctrl-C; it still raises KeyboardInterrupt."""
    _asked_to_stop.clear()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, _stop)


def interrupted() -> bool:
    """Whether Ctrl-C was pressed since `listen`."""
    return _asked_to_stop.is_set()


def _stop(number: int, frame: FrameType | None) -> None:
    _asked_to_stop.set()
    raise KeyboardInterrupt
