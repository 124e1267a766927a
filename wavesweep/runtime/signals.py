"""Ctrl-C, remembered: libraries below may turn KeyboardInterrupt into an exception of their own, or swallow it.

A request to end (SIGTERM, as of `kill`, `timeout` and batch systems) and a closed terminal (SIGHUP) are the same.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
_asked_to_stop = threading.Event()
_held_back: list[bool] = []  # for each block of `held_back` around the main thread: did Ctrl-C fall into it


def listen() -> None:
    """From now on remember Ctrl-C and its like; they raise KeyboardInterrupt."""
    _asked_to_stop.clear()
    if threading.current_thread() is not threading.main_thread():
        return
    for number in _SIGNALS:
        # `nohup` ignores SIGHUP for what it starts, and means it.
        if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _stop)


def interrupted() -> bool:
    """Whether Ctrl-C was pressed, or its like came, since `listen`."""
    return _asked_to_stop.is_set()


@contextmanager
def held_back() -> Iterator[None]:
    """Raise a Ctrl-C that falls into the block at its end; a second one at once, should the block hang.

    For what must be done wholly or not at all: a library's transaction that is left half-way keeps its locks.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed meanwhile.
    """
    _held_back.append(False)
    try:
        yield
    finally:
        fell_into_it = _held_back.pop()
    if fell_into_it:
        raise KeyboardInterrupt


def _stop(number: int, frame: FrameType | None) -> None:
    _asked_to_stop.set()
    if _held_back and not _held_back[0]:
        _held_back[0] = True  # the outermost block: what is held back in it must not end in its middle
        return
    raise KeyboardInterrupt
