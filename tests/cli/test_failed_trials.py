"""A trial that fails does not stop the sweep, is recorded with its reason, and is tried again only on demand."""

import json

import pytest
from command_line import QUICK, records, results, trial_rows, written

pytestmark = pytest.mark.integration

# On the 8x8 grid of the digits the 40 taps of db20 allow no level at all.
TRAP = ("-m", "wavelet=haar,db20,sym2", "layout=spatial", QUICK)
DIVERGES = ("-m", "model.recipe.learning_rate=1e30,0.001", QUICK)
SAME = ("-m", "level=2,5,8", QUICK)


@pytest.fixture(scope="module")
def ran(tmp_path_factory, forked):
    """By name, the directory and the outcome; one after the other."""
    root = tmp_path_factory.mktemp("failed")
    work = {
        "trap": (root / "trap", TRAP),
        "trap again": (root / "trap", TRAP),
        "trap retried": (root / "trap", (*TRAP, "retry_failed=true")),
        "trap alone": (root / "alone", ("wavelet=db20", "layout=spatial", QUICK)),
        "diverges": (root / "diverges", DIVERGES),
        "diverges again": (root / "diverges", DIVERGES),
        "same": (root / "same", SAME),
    }
    return {name: (directory, forked.run(directory, *arguments)) for name, (directory, arguments) in work.items()}


def written_after(directory, outcome):
    """Names of the recorded files that were written after that run."""
    files = [*results(directory), *directory.glob("outputs/**/failure.json"), *directory.glob("outputs/arms/*/*.json")]
    return [path.name for path, time in written(files).items() if time > outcome.ended]


def test_sweep_goes_on_after_a_failed_trial(ran):
    directory, outcome = ran["trap"]
    assert outcome.status == 1
    assert {record["settings"]["wavelet"] for record in records(directory).values()} == {"haar", "sym2"}
    assert "3 trials: 2 done (0 of them before this run), 1 failed" in outcome.stdout
    assert outcome.error == "error: 1 of 3 trials failed, see the table; retry_failed=true runs them again"
    assert "Traceback" not in outcome.stderr


def test_table_names_the_failed_trial_and_its_reason(ran):
    _, outcome = ran["trap"]
    rows = trial_rows(outcome.stdout)
    assert [row.split()[1] for row in rows] == ["haar", "db20", "sym2"]
    assert "failed: wavelet db20 at level 3 with layout spatial transforms nothing" in rows[1]
    assert "failed" not in rows[0] + rows[2]


def test_failure_is_recorded_with_a_remedy(ran):
    directory, _ = ran["trap"]
    (path,) = directory.glob("outputs/runs/*/failure.json")
    reason = json.loads(path.read_text())["reason"]
    assert "8 values, too short for one level" in reason
    for remedy in ("wavelet=haar", "layout=channel", "method=magnitude"):
        assert remedy in reason
    assert not (path.parent / "result.json").exists()
    assert "the trial did not finish" in (path.parent / "trial.log").read_text()


def test_failed_trial_is_not_computed_again_but_still_listed(ran):
    _, outcome = ran["trap again"]
    assert outcome.status == 1
    assert outcome.table == ran["trap"][1].table
    assert "2 done (2 of them before this run), 1 failed" in outcome.stdout
    # No line of progress: nothing was run.
    assert outcome.stderr == outcome.error + "\n"


def test_retry_failed_runs_only_the_failed_trial_again(ran):
    directory, outcome = ran["trap retried"]
    assert outcome.status == 1
    assert outcome.table == ran["trap"][1].table
    # Of the three runs only the first and this one wrote, and this one nothing but the failure.
    assert written_after(directory, ran["trap"][1]) == ["failure.json"]
    assert written_after(directory, ran["trap again"][1]) == ["failure.json"]


def test_single_run_that_transforms_nothing_fails_in_one_line_with_a_remedy(ran):
    directory, outcome = ran["trap alone"]
    assert outcome.status == 1
    assert len(outcome.stderr.splitlines()) == 1
    assert "transforms nothing" in outcome.error
    assert "layout=channel" in outcome.error
    assert not (directory / "outputs" / "baselines").exists()


def test_diverged_training_fails_its_trials_only(ran):
    directory, outcome = ran["diverges"]
    assert outcome.status == 1
    assert [record["settings"]["model"]["recipe"]["learning_rate"] for record in records(directory).values()] == [0.001]
    text = " ".join(outcome.stdout.split())
    assert "training diverged: the loss is nan in epoch 1; lower model.recipe.learning_rate" in text
    assert "Traceback" not in outcome.stderr


def test_diverged_training_is_not_repeated(ran):
    directory, outcome = ran["diverges again"]
    assert outcome.status == 1
    assert outcome.table == ran["diverges"][1].table
    assert written_after(directory, ran["diverges"][1]) == []


def test_points_that_are_identical_after_clamping_say_so(ran):
    directory, outcome = ran["same"]
    assert outcome.status == 0, outcome.stderr
    rows = trial_rows(outcome.stdout)
    assert rows[2].endswith("= #2")
    assert not any("= #" in row for row in rows[:2])
    assert "1 equal to another, not computed again" in outcome.stdout
    arms = {record["settings"]["level"]: record["arms"][0] for record in records(directory).values()}
    assert arms[5]["arm_key"] == arms[8]["arm_key"] != arms[2]["arm_key"]
    assert [layer["requested_level"] for layer in arms[8]["layers"]] == [8, 8, 8]
