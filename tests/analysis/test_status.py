"""What is done, failed, running and left, without touching any of it."""

import csv
import json
import sqlite3

import optuna
import pytest
from analysis_command import command
from records import example, write_failure, write_record, write_records

from wavesweep.analysis.progress.status import lines, lock_is_held, status
from wavesweep.runtime.records import locked


def test_trials_are_done_failed_running_or_left(tmp_path):
    write_records(tmp_path, 3)
    write_failure(tmp_path, "f" * 16, "loss is NaN")
    write_failure(tmp_path, "e" * 16, "failed, and runs again now")
    (tmp_path / "runs" / "0" / ".lock").mkdir(parents=True)  # never written by wavesweep; must not stop the rest
    (tmp_path / "runs" / "1").mkdir()
    left = tmp_path / "runs" / "2"
    left.mkdir()
    (left / ".lock").touch()
    before = sorted(tmp_path.rglob("*"))
    with locked(tmp_path / "runs" / ("e" * 16)), locked(tmp_path / "baselines" / "b"):
        found = status(tmp_path)
        text = "\n".join(lines(found))
    assert (found.trials.done, found.trials.failed) == (3, 1)
    assert found.trials.running == ("e" * 16,)
    assert found.trials.unfinished == ("0", "1", "2")
    assert found.baselines.running == ("b",)
    assert "trials: 3 done, 1 failed, 1 running, 3 unfinished\n" in text
    assert set(before) <= set(tmp_path.rglob("*"))
    assert not (tmp_path / "runs" / "1" / ".lock").exists()


def test_asking_leaves_the_lock_free(tmp_path):
    with locked(tmp_path):
        assert lock_is_held(tmp_path)
    assert not lock_is_held(tmp_path)
    with locked(tmp_path, wait=False):
        pass


def test_sweeps_are_counted_from_their_tables(tmp_path):
    for name, notes in (("a", ["", "failed: loss is NaN", "= #1"]), ("b", [""]), ("damaged", None)):
        path = tmp_path / "sweeps" / name / "trials.csv"
        path.parent.mkdir(parents=True)
        if notes is None:
            path.write_bytes(b"\xff\xfe")
            continue
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, ["#", "note"])
            writer.writeheader()
            writer.writerows({"#": number, "note": note} for number, note in enumerate(notes, 1))
    found = {sweep.name: (sweep.trials, sweep.failed) for sweep in status(tmp_path).sweeps}
    assert found == {"a": (3, 1), "b": (1, 0)}


def describe(outputs, name, storage, **more):
    path = outputs / "studies" / name / "study.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"name": name, "storage": storage, "objectives": ["accuracy"], **more}))
    return path.parent


def test_studies_are_counted_by_state(tmp_path):
    directory = describe(tmp_path, "first", f"sqlite:////elsewhere/{tmp_path.name}/study.db", n_trials=8)
    study = optuna.create_study(storage=f"sqlite:///{directory}/study.db", study_name="first")
    optuna.create_study(storage=f"sqlite:///{directory}/study.db", study_name="other").add_trial(
        optuna.trial.create_trial(value=0.0)
    )
    for state in ("COMPLETE", "COMPLETE", "FAIL", "PRUNED"):
        value = 1.0 if state == "COMPLETE" else None
        study.add_trial(optuna.trial.create_trial(state=optuna.trial.TrialState[state], value=value))
    study.ask()
    (found,) = status(tmp_path).searches
    assert (found.states, found.wanted) == ({"complete": 2, "fail": 1, "pruned": 1, "running": 1}, 8)
    assert found.line() == "first: 2 complete, 1 fail, 1 pruned, 1 running, of 8"


def test_a_trial_that_was_interrupted_has_not_failed(tmp_path):
    directory = describe(tmp_path, "first", f"sqlite:///{tmp_path}/studies/first/study.db")
    study = optuna.create_study(storage=f"sqlite:///{directory}/study.db", study_name="first")
    for reason in ({"crash": "interrupted"}, {"crash": "its process ended"}, {"error": "loss is NaN"}):
        study.add_trial(optuna.trial.create_trial(state=optuna.trial.TrialState.FAIL, user_attrs=reason))
    assert status(tmp_path).searches[0].states == {"fail": 1, "interrupted": 2}
    describe(tmp_path, "first", "postgresql://host/db")
    rows = "0,aa,fail,interrupted\n1,bb,fail,its process ended\n2,cc,fail,loss is NaN\n"
    (directory / "history.csv").write_text(f"number,key,state,reason\n{rows}")
    assert status(tmp_path).searches[0].states == {"fail": 1, "interrupted": 2}


def test_studies_elsewhere_are_counted_from_their_history_and_their_passwords_not_shown(tmp_path):
    directory = describe(tmp_path, "remote", "postgresql://me:secret@host/db")
    (problem,) = status(tmp_path).searches
    assert "postgresql" in problem.line()
    assert "secret" not in problem.line()
    (directory / "history.csv").write_text("number,key,state\n0,aa,COMPLETE\n1,bb,PRUNED\n")
    (tmp_path / "runs" / "bb").mkdir(parents=True)
    found = status(tmp_path)
    assert found.searches[0].states == {"complete": 1, "pruned": 1}
    assert (found.trials.stopped_early, found.trials.unfinished) == (1, ())


@pytest.mark.parametrize(
    ("content", "words"), [(None, "does not exist"), (b"no database at all" * 99, "cannot be read"), ("", "no study")]
)
def test_a_study_that_cannot_be_counted_says_why(tmp_path, content, words):
    directory = describe(tmp_path, "lost", "sqlite:///study.db")
    if content == "":
        optuna.create_study(storage=f"sqlite:///{directory}/study.db", study_name="another")
    elif content is not None:
        (directory / "study.db").write_bytes(content)
    describe(tmp_path, "half", "").joinpath("study.json").write_text("{")
    half, lost = status(tmp_path).searches
    assert "study.json cannot be read" in half.line()
    assert words in lost.line()
    assert "\n" not in lost.line()


def test_the_storage_is_only_read(tmp_path):
    directory = describe(tmp_path, "empty", "sqlite:///study.db")
    sqlite3.connect(directory / "study.db").close()
    size = (directory / "study.db").stat().st_size
    assert "cannot be read" in status(tmp_path).searches[0].line()
    assert (directory / "study.db").stat().st_size == size


def test_the_command_prints_it_where_there_is_nothing_yet(tmp_path):
    write_record(tmp_path, example())
    done = command(tmp_path, script="status")
    assert (done.returncode, done.stderr) == (0, "")
    assert "studies: 0" in done.stdout
    assert "trials: 1 done, 0 failed, 0 running, 0 unfinished" in done.stdout
