"""Temporary files of killed writes are swept away, those of living ones are not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from wavesweep.runtime import temporary
from wavesweep.runtime.records import locked, write_atomically
from wavesweep.runtime.temporary import sweep_temporaries, temporary_beside

DEAD = f".result.json.{'0a' * 16}"


def names(directory):
    return {path.name for path in directory.iterdir()} - {".lock"}


def test_what_a_killed_process_left_goes_with_the_next_write(tmp_path):
    code = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom wavesweep.runtime.temporary import temporary_beside\n"
        "with temporary_beside(Path(sys.argv[1])):\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path = tmp_path / "result.json"
    subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert len(names(tmp_path)) == 1
    write_atomically(path, b"whole")
    assert names(tmp_path) == {"result.json"}


def test_the_lock_of_a_directory_sweeps_it(tmp_path):
    others = {"result.json", ".hidden.0a", ".lock.txt"}
    for name in (*others, DEAD, f".config.yaml.{'1f' * 16}"):
        (tmp_path / name).write_bytes(b"")
    with locked(tmp_path):
        assert names(tmp_path) == others


def test_only_the_files_of_the_target_go_with_a_write(tmp_path):
    for name in (DEAD, f".report.html.{'1f' * 16}"):
        (tmp_path / name).write_bytes(b"")
    write_atomically(tmp_path / "report.html", b"")
    assert names(tmp_path) == {DEAD, "report.html"}


def test_what_is_being_written_stays(tmp_path):
    with temporary_beside(tmp_path / "result.json") as path:
        sweep_temporaries(tmp_path)
        assert names(tmp_path) == {path.name}
        path.replace(tmp_path / "result.json")
    assert names(tmp_path) == {"result.json"}


def test_a_new_file_that_was_swept_before_it_was_held_is_made_again(tmp_path, monkeypatch):
    original, made = os.open, []

    def swept(path, *rest):
        descriptor = original(path, *rest)
        if not made:
            Path(path).unlink()
        made.append(Path(path))
        return descriptor

    with monkeypatch.context() as patch:
        patch.setattr(temporary.os, "open", swept)
        with temporary_beside(tmp_path / "x") as path:
            assert path.exists()
    assert len(made) == 2


def test_a_rename_and_new_directories_are_flushed(tmp_path, monkeypatch):
    flushed = []
    monkeypatch.setattr("wavesweep.runtime.records.sync_directory", flushed.append)
    monkeypatch.setattr(temporary, "sync_directory", flushed.append)
    write_atomically(tmp_path / "a" / "b" / "result.json", b"")
    assert set(flushed[:-1]) == {tmp_path, tmp_path / "a"}
    assert flushed[-1] == tmp_path / "a" / "b"


def test_a_directory_that_cannot_be_flushed_is_no_error_but_a_full_disk_is(tmp_path, monkeypatch):
    def failing(number):
        def fsync(_):
            raise OSError(number, os.strerror(number))

        return fsync

    monkeypatch.setattr(os, "fsync", failing(22))
    temporary.sync_directory(tmp_path)
    monkeypatch.setattr(os, "fsync", failing(28))
    with pytest.raises(OSError, match="No space"):
        temporary.sync_directory(tmp_path)
