"""Records that cannot be written: one line that says what to do, nothing half-written, finished trials intact."""

import json
import os
import resource
import shutil
import subprocess
import sys

import pytest
from command_line import ENVIRONMENT, QUICK, Outcome, records, run

pytestmark = pytest.mark.integration

# Larger than all files of a trial but its result.
FILE_LIMIT = 8_000
REMEDY = "finished trials are kept, so make room or choose another paths.outputs and run the same command again"

# In a mount namespace of its own, so that the small disk goes with the process. Room is left for small files only.
SMALL_DISK = """
set -e
mount -t tmpfs -o size=4m tmpfs "$1"
cd "$1"
"$2" -m wavesweep -m level=1 model.recipe.epochs=2 >first.out
dd if=/dev/zero of=reserve bs=1k count={room} 2>/dev/null
dd if=/dev/zero of=fill bs=1k 2>/dev/null || true
rm reserve
status=0
"$2" -m wavesweep -m level=1,2,3 model.recipe.epochs=2 >"$3/stdout" 2>"$3/stderr" || status=$?
cp -r outputs "$3/outputs"
exit $status
"""


def limit_files():
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_LIMIT, FILE_LIMIT))


def assert_only_whole_files(directory):
    for path in directory.glob("outputs/**/*.json"):
        assert isinstance(json.loads(path.read_text()), dict)
    temporary = [path for path in directory.glob("outputs/**/.*") if path.name != ".lock"]
    assert temporary == []


def assert_one_error_after_progress(outcome):
    lines = outcome.stderr.splitlines()
    assert [line for line in lines[:-1] if not line.startswith("[")] == []
    assert lines[-1] == outcome.error


@pytest.fixture
def finished(readme_sweep, tmp_path):
    """A copy of the README's sweep, to be damaged."""
    shutil.copytree(readme_sweep[0] / "outputs", tmp_path / "outputs")
    return tmp_path


def test_full_disk_ends_the_sweep_with_one_line_and_leaves_finished_trials(finished, forked):
    before = records(finished)
    outcome = run(finished, "-m", "level=1,2,3", preexec_fn=limit_files)
    assert outcome.status == 1
    assert_one_error_after_progress(outcome)
    assert "cannot write outputs/arms/" in outcome.error
    assert "/model.wsz: File too large" in outcome.error
    assert REMEDY in outcome.error
    assert records(finished) == before
    assert_only_whole_files(finished)

    again = forked.run(finished, "-m", "level=1,2,3")
    assert again.status == 0, again.stderr
    assert "3 trials: 3 done (2 of them before this run), 0 failed" in again.stdout


def can_mount():
    probe = ["unshare", "--mount", "--map-root-user", "sh", "-c", "mount -t tmpfs tmpfs /mnt"]
    try:
        return subprocess.run(probe, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize("room", [4, 12, 24])
def test_really_full_disk_ends_the_sweep_with_one_line(tmp_path, room):
    if not can_mount():
        pytest.skip("this machine does not let a test mount a small disk (unshare --mount --map-root-user)")
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["unshare", "--mount", "--map-root-user", "sh", "-c", SMALL_DISK.format(room=room), "sh"]
    ended = subprocess.run(
        [*command, str(disk), sys.executable, str(tmp_path)],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    outcome = Outcome(ended.returncode, (tmp_path / "stdout").read_text(), (tmp_path / "stderr").read_text())
    assert outcome.status in (1, 2), ended.stderr
    assert_one_error_after_progress(outcome)
    assert "No space left on device" in outcome.error
    assert "make room or choose another" in outcome.error
    assert [record["settings"]["level"] for record in records(tmp_path).values()] == [1]
    assert_only_whole_files(tmp_path)


@pytest.mark.parametrize("arguments", [["level=2", QUICK], ["-m", "level=1,2", QUICK]], ids=["single run", "sweep"])
@pytest.mark.parametrize("name", ["runs", "arms", "baselines"])
def test_file_in_place_of_a_directory_is_reported_in_one_line(tmp_path, forked, name, arguments):
    obstacle = tmp_path / "outputs" / name
    obstacle.parent.mkdir()
    obstacle.write_text("in the way")
    outcome = forked.run(tmp_path, *arguments)
    assert outcome.status == 1, outcome
    assert f"cannot write outputs/{name}" in outcome.error
    assert "choose another paths.outputs" in outcome.error
    assert obstacle.read_text() == "in the way"
    assert_one_error_after_progress(outcome)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_directory_without_permission_is_reported_in_one_line(finished):
    (finished / "outputs" / "runs").chmod(0o500)
    try:
        outcome = run(finished, "level=2")
    finally:
        (finished / "outputs" / "runs").chmod(0o700)
    assert outcome.status == 1
    assert "cannot write outputs/runs/" in outcome.error
    assert "Permission denied" in outcome.error
