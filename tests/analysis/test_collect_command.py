"""The command that collects all trials, in a process of its own: what it prints, and what it does without."""

import os
import subprocess
import sys

import pytest
from analysis_command import ROOT, command
from records import write_records


def test_the_command_names_what_it_skips_and_ends_well(tmp_path):
    keys = write_records(tmp_path, 3)
    broken = tmp_path / "runs" / keys[1] / "result.json"
    broken.write_text("{")
    done = command(tmp_path)
    assert done.returncode == 0
    assert done.stderr == f"skipped {broken}: is not JSON\n"
    assert done.stdout.startswith("2 trials, 6 rows: ")
    assert done.stdout.splitlines()[-1] == "1 records were skipped, see above"
    assert command(tmp_path).stderr == done.stderr


@pytest.mark.parametrize("script", ["collect", "status"])
def test_a_missing_directory_is_one_line(tmp_path, script):
    done = command(tmp_path / "nowhere", script=script)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {tmp_path / 'nowhere'} does not exist; ")


def test_a_directory_that_cannot_be_written_is_one_line(tmp_path):
    write_records(tmp_path, 1)
    (tmp_path / "analysis").write_text("a file in its place")
    done = command(tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: cannot write")
    assert len(done.stderr.splitlines()) == 1


def test_a_missing_package_is_one_line(tmp_path):
    code = (
        "import sys; sys.modules['pyarrow'] = None; sys.argv = ['collect', sys.argv[1]]\n"
        "from wavesweep.analysis import collect, command; sys.exit(command.run(collect.main))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 2
    assert done.stderr == "error: pyarrow is not installed: pip install 'wavesweep[analysis]'\n"
