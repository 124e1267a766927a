"""Atomic files, locks, and results that are computed once.

A result file is written last and atomically, so a directory without it is unfinished work. A lock is held by
the kernel for the process and goes with it, so a killed process blocks nobody.
"""

import json
import os
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from filelock import FileLock, Timeout

from wavesweep.errors import (
    BusyError,
    DeviceError,
    SettingsError,
    ShortMemoryError,
    StoppedEarlyError,
    StoreError,
    TrialError,
)
from wavesweep.runtime.progress import log
from wavesweep.runtime.signals import interrupted

# A trial has one or the other when it has ended.
RESULT_FILE, FAILURE_FILE = "result.json", "failure.json"
# What an export adds: the record is written after the file, and the failure in its place.
ONNX_FILE, ONNX_RECORD, ONNX_FAILURE = "model.onnx", "onnx.json", "onnx_failure.json"
_UNRECORDED = (StoreError, SettingsError, StoppedEarlyError, BusyError, ShortMemoryError, DeviceError)
# Why this process can no longer use its GPU; what it computes after that fails for this reason and not for its own.
_device_errors: list[str] = []
# Who waits longer for another process is told so.
_SILENT_SECONDS = 5.0
_EARLIER = " (failed earlier; retry_failed=true runs it again)"


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file that is either complete or absent, also after a kill or a power cut.

    Raises:
        StoreError: the disk is full or the directory cannot be written; an older file stays as it was.
    """
    with storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not by `tempfile`, whose files only their owner may read: others share the outputs directory.
        temporary = path.with_name(f".{path.name}.{uuid4().hex}")
        try:
            with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def write_json(path: Path, content: Any) -> None:
    """Write `content` as indented JSON, atomically; NaN and infinity are refused."""
    write_atomically(path, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> dict[str, Any] | None:
    """The record at `path`, or None where there is none that can be read."""
    try:
        with path.open("rb") as file:
            content = json.load(file)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}; check the permissions of paths.outputs") from None
    return content if isinstance(content, dict) else None


@contextmanager
def storing(path: Path) -> Iterator[None]:
    """Turn the operating system's refusal to write into one line that says what to do."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise StoreError(
            f"cannot write {path}: {reason}; finished trials are kept, so make room or choose another "
            "paths.outputs and run the same command again"
        ) from None


@contextmanager
def locked(directory: Path, wait: bool = True) -> Iterator[None]:
    """Hold the lock of `directory` against other processes; says so if it has to wait for one.

    Raises:
        BusyError: `wait` is false and another process holds it.
    """
    with storing(directory):
        directory.mkdir(parents=True, exist_ok=True)
        lock = FileLock(directory / ".lock")
        with suppress(Timeout):
            lock.acquire(timeout=_SILENT_SECONDS if wait else 0)
    if not lock.is_locked:
        if not wait:
            raise BusyError(f"{directory.name} is being computed by another process")
        log(f"another process works on {directory}; waiting for it")
        with storing(directory):
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


def once(path: Path, compute: Callable[[Path], dict[str, Any]], *, wait: bool = True) -> dict[str, Any]:
    """The record at `path`; where there is none, `compute(directory)` makes it, in one process only."""
    record = read_json(path)
    if record is not None:
        return record
    with locked(path.parent, wait):
        record = read_json(path)
        if record is None:
            write_json(path, compute(path.parent))
            record = read_json(path)  # so that it is the same now and later: JSON has no tuples
            assert record is not None
    return record


def once_or_failure(
    path: Path,
    compute: Callable[[Path], dict[str, Any]],
    *,
    wait: bool = True,
    retry_failed: bool = False,
    failure_name: str = FAILURE_FILE,
) -> dict[str, Any]:
    """Like `once`; a failure of `compute` is recorded too, and raised again until `retry_failed`.

    Raises:
        TrialError: it failed, now or earlier.
        ShortMemoryError: there was not enough memory.
        DeviceError: the GPU failed; recorded where it did first.
    """
    failure_path = path.parent / failure_name

    def raise_earlier_failure() -> None:
        failure = None if retry_failed else read_json(failure_path)
        if failure is not None and read_json(path) is None:
            raise TrialError(f"{failure['reason']}{_EARLIER}")

    def guarded(directory: Path) -> dict[str, Any]:
        raise_earlier_failure()  # of the process that held the lock until now
        try:
            record = compute(directory)
        except Exception as error:
            if interrupted():
                raise KeyboardInterrupt from None
            # Its log has the traceback; the variables of its frames would keep a network and its data in memory.
            traceback.clear_frames(error.__traceback__)
            if isinstance(error, _UNRECORDED):
                raise
            if isinstance(error, TrialError):
                # Of what it shares with others the reason is the same, whichever failed first.
                write_json(failure_path, {"reason": str(error).removesuffix(_EARLIER)})
                raise
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            if _is_of_memory(error):
                raise ShortMemoryError(f"{reason} (not recorded)") from error
            if "CUDA error:" in str(error):
                if not _device_errors:
                    write_json(failure_path, {"reason": reason})
                _device_errors.append(reason)
                text = f"{_device_errors[0]}; this process cannot use the GPU any more, run the same command again"
                raise DeviceError(text) from error
            write_json(failure_path, {"reason": reason})
            raise TrialError(reason) from error
        failure_path.unlink(missing_ok=True)
        return record

    raise_earlier_failure()
    return once(path, guarded, wait=wait)


def _is_of_memory(error: Exception) -> bool:
    # By what it says: not all of PyTorch's have a type of their own.
    texts = ("out of memory", "can't allocate memory", "ALLOC_FAILED")
    return isinstance(error, MemoryError) or any(text in str(error) for text in texts)


def check_writable(outputs: Path) -> None:
    """Refuse an output directory that cannot be written, before anything is computed.

    Raises:
        SettingsError: it cannot be made or written.
    """
    try:
        outputs.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=outputs) as file:
            file.write(b"\0" * 4096)
            file.flush()
    except OSError as error:
        raise SettingsError(
            "paths.outputs",
            outputs,
            f"must be a directory that can be written ({error.strerror})",
            "make room or choose another one",
        ) from None
