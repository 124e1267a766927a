"""Atomic files, locks between real processes, and results that are computed once."""

import errno
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec
import pytest

from wavesweep.errors import BusyError, SettingsError, StoreError, TrialError
from wavesweep.runtime import records
from wavesweep.runtime.records import (
    FAILURE_FILE,
    check_writable,
    locked,
    once,
    once_or_failure,
    read_json,
    write_atomically,
    write_json,
)
from wavesweep.runtime.shapes import Anything

# Another process that computes the record at argv[1] slowly and notes that it did.
COMPUTE_ONCE = """
import os, sys, time
from pathlib import Path
from wavesweep.runtime.records import once
from wavesweep.runtime.shapes import Anything
path = Path(sys.argv[1])

def compute(directory):
    with (directory / "computations").open("a") as file:
        file.write(f"{os.getpid()}\\n")
    time.sleep(0.5)
    return {"pid": os.getpid()}

print("ready", flush=True)
sys.stdin.readline()
print(once(path, compute, Anything)["pid"])
"""
# Another process that holds the lock of argv[1] until it is killed.
HOLD = """
import sys, time
from pathlib import Path
from wavesweep.runtime.records import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


class Numbered(msgspec.Struct):
    """The shape of the records of these tests."""

    n: int


def start(code, path):
    return subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


@pytest.fixture
def held(tmp_path):
    """A directory whose lock another process holds."""
    process = start(HOLD, tmp_path / "trial")
    assert process.stdout.readline() == "held\n"
    yield tmp_path / "trial", process
    process.kill()
    process.communicate()


def names(directory):
    return [path.name for path in directory.iterdir()]


def no_space(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def never(_):
    pytest.fail("computed again")


def counting(results):
    """A computation that gives, or raises, one of `results` after the other."""
    remaining = iter(results)

    def compute(directory):
        result = next(remaining)
        if isinstance(result, Exception):
            raise result
        return result

    return compute


def test_others_may_read_a_record_as_far_as_the_umask_lets_them(tmp_path):
    plain = tmp_path / "plain"
    plain.write_bytes(b"")
    write_atomically(tmp_path / "record", b"")
    assert (tmp_path / "record").stat().st_mode == plain.stat().st_mode


def test_a_file_is_written_with_its_directories(tmp_path):
    path = tmp_path / "a" / "b" / "weights.bin"
    write_atomically(path, b"\x00\xff")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert names(path.parent) == ["weights.bin"]


@pytest.mark.parametrize("before", [None, b"old"])
@pytest.mark.parametrize("failing", ["fsync", "write", "replace"])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, failing, before):
    path = tmp_path / "result.json"
    if before is not None:
        path.write_bytes(before)
    if failing == "fsync":
        monkeypatch.setattr(os, "fsync", no_space)
    elif failing == "replace":
        monkeypatch.setattr(Path, "replace", no_space)
    else:
        monkeypatch.setattr(os, "fdopen", full_file(os.fdopen))
    with pytest.raises(StoreError, match=r"cannot write .*result\.json: No space left on device") as raised:
        write_atomically(path, b"new")
    assert "\n" not in str(raised.value)
    assert names(tmp_path) == ([] if before is None else ["result.json"])
    assert before is None or path.read_bytes() == before


def full_file(original):
    """`os.fdopen` whose files refuse to be written."""

    class Full:
        def __init__(self, descriptor, mode):
            self.file = original(descriptor, mode)
            self.write = no_space

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

    return Full


def test_an_interrupted_write_leaves_no_temporary_file(tmp_path, monkeypatch):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "result.json", b"new")
    assert names(tmp_path) == []


def test_a_place_that_is_no_directory_is_a_store_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"Not a directory|File exists"):
        write_atomically(tmp_path / "file" / "result.json", b"")
    with pytest.raises(SettingsError, match=r"paths\.outputs=.*must be a directory that can be written") as raised:
        check_writable(tmp_path / "file" / "outputs")
    assert raised.value.key == "paths.outputs"


def test_a_place_that_can_be_written_is_left_empty(tmp_path):
    check_writable(tmp_path / "new" / "outputs")
    assert names(tmp_path / "new" / "outputs") == []


def test_json_refuses_nan_and_keeps_the_record(tmp_path):
    path = tmp_path / "result.json"
    write_json(path, {"accuracy": 0.5})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"accuracy": float("nan")})
    assert read_json(path, Anything) == {"accuracy": 0.5}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        '{"n": 0.',
        "[1, 2]",
        "\xff\x00",
        "{}",
        '{"n": null}',
        '{"n": "1"}',
        '{"n": 1, "x": NaN}',
        "[" * 9999,
        None,
    ],
)
def test_what_is_no_record_is_computed_again(tmp_path, content):
    path = tmp_path / "trial" / "result.json"
    if content is not None:
        path.parent.mkdir()
        path.write_text(content, encoding="latin-1")
    assert read_json(path, Numbered) is None
    assert once(path, counting([{"n": 1}]), Numbered) == {"n": 1}
    assert json.loads(path.read_text()) == {"n": 1}
    assert once(path, never, Numbered) == {"n": 1}


def test_a_failed_computation_leaves_no_record_and_frees_the_lock(tmp_path):
    path = tmp_path / "result.json"
    compute = counting([ZeroDivisionError("first"), {"n": 2}])
    with pytest.raises(ZeroDivisionError):
        once(path, compute, Numbered)
    assert not path.exists()
    assert once(path, compute, Numbered, wait=False) == {"n": 2}


def test_four_processes_compute_once(tmp_path):
    path = tmp_path / "trial" / "result.json"
    processes = [start(COMPUTE_ONCE, path) for _ in range(4)]
    assert [process.stdout.readline() for process in processes] == ["ready\n"] * 4
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = {process.communicate(timeout=60)[0].strip() for process in processes}
    assert [process.returncode for process in processes] == [0] * 4
    computations = (path.parent / "computations").read_text().split()
    assert len(computations) == 1
    assert answers == {computations[0]} == {str(read_json(path, Anything)["pid"])}
    assert int(computations[0]) in [process.pid for process in processes]


def test_a_busy_trial_is_skipped_on_request(held):
    directory, _ = held
    for function in (once, once_or_failure):
        with pytest.raises(BusyError, match="trial is being computed by another process"):
            function(directory / "result.json", never, Numbered, wait=False)
    assert not (directory / FAILURE_FILE).exists()


def test_a_finished_record_is_read_without_the_lock(held):
    directory, _ = held
    write_json(directory / "result.json", {"n": 1})
    started = time.monotonic()
    assert once(directory / "result.json", never, Numbered) == {"n": 1}
    assert time.monotonic() - started < 5


def test_a_killed_process_blocks_nobody(held):
    directory, process = held
    process.kill()
    process.wait()
    assert once(directory / "result.json", counting([{"n": 1}]), Numbered, wait=False) == {"n": 1}


def test_who_waits_for_another_process_is_told_so(held, monkeypatch, capsys):
    directory, process = held
    monkeypatch.setattr(records, "_SILENT_SECONDS", 0.1)
    threading.Timer(1.0, process.kill).start()
    assert once(directory / "result.json", counting([{"n": 1}]), Numbered) == {"n": 1}
    assert capsys.readouterr() == ("", f"another process works on {directory}; waiting for it\n")


def test_a_lock_is_free_again_after_an_error(tmp_path):
    with pytest.raises(KeyError), locked(tmp_path, wait=False):
        raise KeyError
    with locked(tmp_path, wait=False):
        pass


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TrialError("transforms nothing"), "transforms nothing"),
        (ValueError("two\n lines"), "ValueError: two lines"),
    ],
)
def test_a_failure_is_recorded_and_raised_again_without_computing(tmp_path, error, reason):
    path = tmp_path / "result.json"
    with pytest.raises(TrialError, match=f"^{reason}$"):
        once_or_failure(path, counting([error]), Numbered)
    assert read_json(tmp_path / FAILURE_FILE, Anything) == {"reason": reason}
    assert not path.exists()
    with pytest.raises(TrialError, match=f"^{reason} \\(failed earlier; retry_failed=true runs it again\\)$"):
        once_or_failure(path, never, Numbered)


def test_retry_failed_computes_again(tmp_path):
    path = tmp_path / "result.json"
    compute = counting([TrialError("first"), TrialError("second"), {"n": 3}])
    for reason in ("first", "second"):
        with pytest.raises(TrialError, match=f"^{reason}$"):
            once_or_failure(path, compute, Numbered, retry_failed=True)
        assert read_json(tmp_path / FAILURE_FILE, Anything) == {"reason": reason}
    assert once_or_failure(path, compute, Numbered, retry_failed=True) == {"n": 3}
    assert not (tmp_path / FAILURE_FILE).exists()
    assert once_or_failure(path, never, Numbered, retry_failed=True) == {"n": 3}


def test_a_record_outweighs_an_old_failure(tmp_path):
    write_json(tmp_path / FAILURE_FILE, {"reason": "old"})
    write_json(tmp_path / "result.json", {"n": 1})
    assert once_or_failure(tmp_path / "result.json", never, Numbered) == {"n": 1}


@pytest.mark.parametrize(
    "error", [StoreError("disk is full"), SettingsError("seed", -1, "must be >= 0"), KeyboardInterrupt()]
)
def test_what_is_no_failure_of_the_trial_is_not_recorded(tmp_path, error):
    def compute(_):
        raise error

    with pytest.raises(type(error)):
        once_or_failure(tmp_path / "result.json", compute, Numbered)
    assert not (tmp_path / FAILURE_FILE).exists()
    assert once_or_failure(tmp_path / "result.json", counting([{"n": 1}]), Numbered) == {"n": 1}


def test_unreadable_records_are_an_error_not_a_recomputation(tmp_path, monkeypatch):
    def refused(*_, **__):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    write_json(tmp_path / "result.json", {"n": 1})
    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(StoreError, match="Permission denied; check the permissions"):
        once(tmp_path / "result.json", never, Numbered)
