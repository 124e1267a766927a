"""Several processes on one study: a journal, SQLite, PostgreSQL."""

import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import optuna
import pytest
from command_line import QUICK, records, run_together
from optuna.trial import TrialState

from wavesweep.runtime.study_storage import open_storage

SEARCH = (
    "-m",
    "search=pareto",
    QUICK,
    "search.study=shared",
    "threshold.percentile=interval(50,95)",
    "retrain=none",
    "method=wavelet",
    "quantize=uniform",
    "quantize.step=null",
)

NEEDS_DRIVER = 'psycopg is not installed: pip install "wavesweep[postgresql]"'


def assert_shared(directory, url, processes, n_trials):
    command = (*SEARCH, f"search.n_trials={n_trials}", f"search.storage='{url}'")
    outcomes = run_together(*[(directory, command)] * processes)
    for outcome in outcomes:
        assert outcome.status == 0, outcome.stderr
        assert "Traceback" not in outcome.stderr
        assert f"{n_trials} of {n_trials} trials: {n_trials} complete" in outcome.stdout
        # Otherwise the others found everything done, and this tests nothing.
        assert any(line.startswith("[") for line in outcome.stderr.splitlines())
    assert len({outcome.stdout for outcome in outcomes}) == 1
    storage = open_storage(url)
    trials = optuna.load_study(study_name="shared", storage=storage).trials
    if isinstance(storage, optuna.storages.RDBStorage):
        storage.remove_session()
        storage.engine.dispose()
    assert {trial.state for trial in trials} <= {TrialState.COMPLETE, TrialState.FAIL}
    keys = [trial.user_attrs["key"] for trial in trials if trial.state == TrialState.COMPLETE]
    assert len(keys) == len(set(keys)) == n_trials
    assert records(directory).keys() == set(keys)
    owners = {trial.user_attrs["owner"] for trial in trials if trial.state == TrialState.COMPLETE}
    assert len(owners) == processes
    for key in keys:
        assert (directory / "outputs" / "runs" / key / "trial.log").read_text().count(" baseline ") == 1


@pytest.mark.slow
def test_two_processes_share_a_study_in_sqlite(tmp_path):
    # Both begin in the same moment, so both would make the database.
    assert_shared(tmp_path, f"sqlite:///{tmp_path / 'study.db'}", 2, 16)


@pytest.mark.slow
def test_four_processes_share_a_study_in_a_journal(tmp_path):
    assert_shared(tmp_path, f"journal://{tmp_path / 'journal' / 'study.log'}", 4, 32)


def programs():
    """Where PostgreSQL's programs are; None where it is not installed."""
    found = shutil.which("initdb")
    places = [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return places[-1] if places else None


@contextmanager
def postgresql():
    """A server of its own, reached by a socket only; gives the URL of a database."""
    as_user = []
    place = Path(tempfile.mkdtemp(prefix="pg"))  # short: a socket's path has 107 characters at most
    if os.geteuid() == 0:  # it refuses to run as root
        as_user = ["runuser", "-u", "nobody", "--"]
        shutil.chown(place, "nobody")
    options = f"-c listen_addresses= -c unix_socket_directories={place} -c fsync=off"

    def call(program, *arguments):
        subprocess.run([*as_user, str(programs() / program), *arguments], cwd=place, check=True, capture_output=True)

    try:
        call("initdb", "-D", f"{place}/data", "-U", "me", "-A", "trust")
        call("pg_ctl", "-D", f"{place}/data", "-l", f"{place}/log", "-w", "-o", options, "start")
        try:
            yield f"postgresql://me@/postgres?host={place}"
        finally:
            call("pg_ctl", "-D", f"{place}/data", "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(place, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.skipif(programs() is None, reason="PostgreSQL's server is not installed")
@pytest.mark.skipif(find_spec("psycopg") is None, reason=NEEDS_DRIVER)
def test_two_processes_share_a_study_in_postgresql(tmp_path, forked):
    with postgresql() as url:
        assert_shared(tmp_path, url, 2, 16)
    gone = forked.run(tmp_path, *SEARCH, f"search.storage='{url}'")
    assert gone.status == 1
    assert len(gone.stderr.splitlines()) == 1
    assert gone.error.startswith(f"error: search.storage={url}: ")
    assert "start the database" in gone.error
