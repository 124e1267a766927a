"""Atomic files, locks, and results that are computed once.

A result file is written last and atomically, so a directory without it is unfinished work; so is one whose file does
not have the shape of its kind. A lock is held by the kernel for the process and goes with it, so a killed process
blocks nobody.
"""

import json
import os
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from msgspec import Struct

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
from wavesweep.runtime.shapes import DamagedError, Failure, Trial, checked
from wavesweep.runtime.signals import interrupted
from wavesweep.runtime.temporary import make_directory, sweep_temporaries, sync_directory, temporary_beside

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
        make_directory(path.parent)
        sweep_temporaries(path.parent, path.name)
        with temporary_beside(path) as temporary:
            with os.fdopen(os.open(temporary, os.O_WRONLY), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        sync_directory(path.parent)


def write_json(path: Path, content: Any) -> None:
    """Write `content` as indented JSON, atomically; NaN and infinity are refused."""
    write_atomically(path, json_bytes(content))


def json_bytes(content: Any) -> bytes:
    """What `write_json` writes."""
    return (json.dumps(content, indent=1, allow_nan=False) + "\n").encode()


def write_if_possible(path: Path, content: bytes) -> None:
    """Write what only repeats records, unless it is there; where nothing can be written, say so and continue."""
    with suppress(OSError):
        if path.read_bytes() == content:
            return
    try:
        write_atomically(path, content)
    except StoreError as error:
        log(f"note: {str(error).partition(';')[0]}; what it would hold is in the records")


def read_json(path: Path, shape: type[Struct]) -> dict[str, Any] | None:
    """The record at `path`, whole, or None where there is none of that shape.

    Raises:
        StoreError: there is a file that cannot be read.
    """
    try:
        return _read(path, shape)
    except DamagedError:
        return None


def damage(path: Path, shape: type[Struct]) -> str | None:
    """What is wrong with the content of `path`; None where it has that shape, or there is no file.

    Raises:
        StoreError: there is a file that cannot be read.
    """
    try:
        _read(path, shape)
    except DamagedError as error:
        return str(error)
    return None


def read_trial(directory: Path) -> dict[str, Any] | None:
    """The record of the trial of `directory`, or None while there is none that is whole and its own.

    Raises:
        StoreError: there is a file that cannot be read.
    """
    record = read_json(directory / RESULT_FILE, Trial)
    return record if record is not None and record["key"] == directory.name else None


def read_failure(path: Path) -> str | None:
    """Why something failed, or None where no file says so.

    Raises:
        StoreError: there is a file that cannot be read.
    """
    failure = read_json(path, Failure)
    return None if failure is None else str(failure["reason"])


def _read(path: Path, shape: type[Struct]) -> dict[str, Any] | None:
    try:
        with path.open("rb") as file:
            content = file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}; check the permissions of paths.outputs") from None
    return checked(content, shape)


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
        make_directory(directory)
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
        sweep_temporaries(directory)
        yield
    finally:
        lock.release()


def once(
    path: Path,
    compute: Callable[[Path], dict[str, Any]],
    shape: type[Struct],
    *,
    wait: bool = True,
    fits: Callable[[dict[str, Any]], bool] = lambda _: True,
) -> dict[str, Any]:
    """The record at `path`; where there is none, `compute(directory)` makes it, in one process only.

    Args:
        path: of the record. One that is damaged is computed again.
        compute: makes it.
        shape: of the record.
        wait: for another process that computes it.
        fits: whether a record of that shape is what belongs there.

    Raises:
        BusyError: `wait` is false and another process computes it.
        StoreError: it cannot be read or written.
    """

    def found() -> dict[str, Any] | None:
        record = read_json(path, shape)
        return record if record is not None and fits(record) else None

    record = found()
    if record is not None:
        return record
    with locked(path.parent, wait):
        record = found()
        if record is None:
            if path.exists():
                log(f"{path} is damaged ({damage(path, shape) or 'it is of something else'}); it is computed again")
            write_json(path, compute(path.parent))
            record = found()  # so that it is the same now and later: JSON has no tuples
            assert record is not None, f"{path}: {damage(path, shape) or 'does not fit'}"
    return record


def once_or_failure(
    path: Path,
    compute: Callable[[Path], dict[str, Any]],
    shape: type[Struct],
    *,
    wait: bool = True,
    retry_failed: bool = False,
    failure_name: str = FAILURE_FILE,
    fits: Callable[[dict[str, Any]], bool] = lambda _: True,
) -> dict[str, Any]:
    """Like `once`; a failure of `compute` is recorded too, and raised again until `retry_failed`.

    Raises:
        TrialError: it failed, now or earlier.
        ShortMemoryError: there was not enough memory.
        DeviceError: the GPU failed; recorded where it did first.
    """
    failure_path = path.parent / failure_name

    def raise_earlier_failure() -> None:
        reason = None if retry_failed else read_failure(failure_path)
        if reason is not None:
            record = read_json(path, shape)
            if record is None or not fits(record):
                raise TrialError(f"{reason}{_EARLIER}")

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
    return once(path, guarded, shape, wait=wait, fits=fits)


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
