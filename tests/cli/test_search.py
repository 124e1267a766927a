"""The search from the command line: what it prints and leaves, and how it continues."""

import csv
import json
import shutil
import signal

import optuna
import pytest
from command_line import QUICK, finish, records, results, started, wait_until, written

pytestmark = pytest.mark.integration

# A space of one-shot trials, which take a moment.
ONE_SHOT = (
    *("shrink=false", "quantize.other=float16", "threshold=percentile"),
    *("method=wavelet", "retrain=none", "quantize=uniform", "quantize.step=null", "layout=choice(auto,channel)"),
    *("wavelet=choice(haar,db2,db4,sym4,coif1,bior2.2,bior4.4,rbio3.3)", "level=range(1,5)"),
    *("threshold.percentile=range(5,99.5,0.5)", "quantize.bits=range(3,9)"),
)
SEARCH = ("-m", "search=pareto", QUICK, *ONE_SHOT, "search.n_trials=6")
STUDY = "outputs/studies/pareto-mlp-digits"


def search(forked, directory, *arguments):
    return forked.run(directory, *SEARCH, *arguments)


def history(directory, study=STUDY):
    with (directory / study / "history.csv").open() as file:
        return list(csv.DictReader(file))


def front(directory, study=STUDY):
    return json.loads((directory / study / "front.json").read_text())


def done(outcome):
    assert outcome.status == 0, outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert "Warning" not in outcome.stderr
    return outcome.stdout.splitlines()


@pytest.fixture(scope="module")
def searched(tmp_path_factory, forked):
    """The directory in which the search ran, and how that ended; not to be changed."""
    directory = tmp_path_factory.mktemp("search")
    return directory, search(forked, directory)


@pytest.fixture
def copied(searched, tmp_path):
    """A copy of that directory with its times, to go on from."""
    import shutil

    shutil.copytree(searched[0], tmp_path / "search")
    for name in ("runs", "arms"):
        for path in (tmp_path / "search" / "outputs" / name).iterdir():
            path.touch()
    return tmp_path / "search"


def test_a_search_ends_with_its_front_hypervolume_and_best_trial(searched):
    directory, outcome = searched
    lines = done(outcome)
    content = front(directory)
    assert lines[0] == f"Pareto front of pareto-mlp-digits: {len(content['front'])} of 6 complete trials"
    assert [int(line.split()[0]) for line in lines[2 : 2 + len(content["front"])]] == [
        row["number"] for row in content["front"]
    ]
    assert f"hypervolume {content['hypervolume']:.4f} (reference point: accuracy 0.00, stored_bytes " in outcome.stdout
    assert "at most 1 points of validation accuracy lost: " in outcome.stdout
    assert lines[-2] == "6 of 6 trials: 6 complete"
    assert lines[-1].startswith(f"study: {STUDY}   rerun the best: python -m wavesweep --config-dir {STUDY}")
    assert outcome.stderr.splitlines()[-1].startswith("[6/6] 0 failed, front of ")


def test_the_study_is_made_of_the_records(searched):
    directory, _ = searched
    rows, found = history(directory), records(directory)
    assert [row["state"] for row in rows] == ["complete"] * 6
    assert {row["key"] for row in rows} == found.keys()
    for row in rows:
        record = found[row["key"]]
        main = record["arms"][0]
        assert [one["method"] for one in record["arms"]] == ["wavelet"]
        assert (float(row["accuracy"]), float(row["stored_bytes"])) == (
            main["validation"]["accuracy"],
            main["stored_bytes"],
        )
        params = json.loads(row["params"])
        assert record["settings"]["threshold"]["percentile"] == params["threshold.percentile"]
        assert record["settings"]["wavelet"] == params["wavelet"]
        assert "search" not in record["settings"]


def test_the_best_runs_again_as_the_trial_that_it_was(searched, forked, copied):
    content = front(copied)
    # Where none of these few trials is within the usual limit, the most accurate one.
    chosen = content["best"][-1]["trial"] or content["front"][0]
    before = written(results(copied))
    outcome = forked.run(copied, "--config-dir", STUDY, "--config-name", "best")
    assert outcome.status == 0, outcome.stderr
    assert written(results(copied)) == before
    (copied / "outputs" / "runs" / chosen["key"] / "result.json").unlink()
    assert forked.run(copied, "--config-dir", STUDY, "--config-name", "best").status == 0
    assert records(copied)[chosen["key"]]["arms"][0]["stored_bytes"] == chosen["stored_bytes"]
    assert len(results(copied)) == 6


def test_the_same_command_computes_nothing_and_prints_the_same(searched, forked):
    directory, first = searched
    before = written(results(directory))
    rows = history(directory)
    again = search(forked, directory)
    assert again.stdout == first.stdout
    assert again.stderr == ""
    assert written(results(directory)) == before
    assert history(directory) == rows


def test_more_trials_go_on_from_those_that_are_there(forked, copied):
    before, rows = written(results(copied)), history(copied)
    outcome = search(forked, copied, "search.n_trials=9")
    assert done(outcome)[-2] == "9 of 9 trials: 9 complete"
    assert len(results(copied)) == 9
    assert history(copied)[:6] == rows
    assert written(list(before)) == before
    assert [line.split()[0] for line in outcome.stderr.splitlines()] == ["[7/9]", "[8/9]", "[9/9]"]
    fewer = search(forked, copied, "search.n_trials=3")
    assert done(fewer)[-2] == "9 trials: 9 complete"


@pytest.mark.slow
def test_no_search_is_nothing(tmp_path, forked):
    plain, named = tmp_path / "plain", tmp_path / "named"
    outcomes = [forked.run(plain, "-m", "level=1,2", QUICK), forked.run(named, "-m", "level=1,2", QUICK, "search=none")]
    assert [outcome.status for outcome in outcomes] == [0, 0]
    assert records(plain).keys() == records(named).keys()
    assert not (named / "outputs" / "studies").exists()


FINITE = ("wavelet=haar,db2", "level=1", "layout=auto", "threshold.percentile=60,80", "quantize.bits=6")


@pytest.fixture(scope="module")
def gridded(tmp_path_factory, forked):
    """Two of the four points of FINITE, computed by a grid."""
    directory = tmp_path_factory.mktemp("grid")
    grid = ("-m", "compare=[]", "wavelet=haar", "level=1", "threshold.percentile=60,80", "quantize.bits=6")
    assert forked.run(directory, *grid, QUICK).status == 0
    return directory


@pytest.mark.parametrize("sampler", ["tpe", "grid", "brute_force"])
def test_points_of_an_earlier_grid_are_answered_from_their_records(gridded, forked, sampler):
    before = written(results(gridded))
    study = f"search.study=cached-{sampler}"
    outcome = search(forked, gridded, *FINITE, study, f"search.sampler={sampler}")
    # A finite space has no more points than it has, and each is there once.
    assert "4 of 4 trials: 4 complete, " in outcome.stdout
    rows = [row for row in history(gridded, f"outputs/studies/cached-{sampler}") if row["state"] == "complete"]
    assert len({row["key"] for row in rows}) == 4
    assert {path.parent.name for path in before} <= {row["key"] for row in rows if row["cached"]}
    assert written(list(before)) == before


@pytest.mark.parametrize("sampler", ["random", "grid"])
def test_a_warm_start_knows_what_earlier_sweeps_computed(gridded, forked, sampler):
    study = (f"search.study=warm-{sampler}", f"search.sampler={sampler}", "search.warm_start=true")
    known = len(results(gridded))
    outcome = search(forked, gridded, *FINITE, *study)
    assert f"warm start: {known} trials of earlier sweeps lie in the space" in outcome.stderr
    assert len(results(gridded)) == 4
    assert f"{known} from earlier sweeps besides" in done(outcome)[-2]
    rows = history(gridded, f"outputs/studies/warm-{sampler}")
    assert sum(row["state"] == "warm_start" for row in rows) == known
    keys = [row["key"] for row in rows if row["state"] in ("warm_start", "complete")]
    assert len(set(keys)) == len(keys) == 4
    again = search(forked, gridded, *FINITE, *study)
    assert "warm start: 0 trials" in again.stderr
    assert done(again) == done(outcome)


@pytest.mark.slow
def test_constraints_show_the_best_trial_under_each(tmp_path, forked):
    limits = ("search.constraints.max_drop=3", "search.constraints.max_bytes=100")
    outcome = search(forked, tmp_path, *limits, "search.sampler=nsga2")
    lines = done(outcome)
    assert "at most 3 points of validation accuracy lost: " in outcome.stdout
    assert any(line.startswith("at most 100 bytes: no trial satisfies it; nearest is trial ") for line in lines)
    both = "at most 3 points of validation accuracy lost, at most 100 bytes: no trial satisfies it; nearest is trial "
    assert any(line.startswith(both) for line in lines)
    assert any(line.startswith("to try: more trials (search.n_trials=12 continues); ") for line in lines)
    changed = search(forked, tmp_path, limits[0], "search.constraints.max_bytes=9000", "search.sampler=nsga2")
    assert changed.status == 2
    assert "search.constraints.max_bytes was 100, is 9000" in changed.error


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ("level=range(1,4)", "level was interval(1,4), is interval(1,3)"),
        ("seed=1", "seed was not set, is 1"),
        ("level=2", "level was interval(1,4), is 2"),
        ("search.objectives=[f1,stored_bytes]", "search.objectives was "),
    ],
)
def test_a_changed_space_is_refused_with_a_way_out_and_changes_nothing(searched, forked, change, text):
    directory, _ = searched
    files = [path for path in directory.rglob("*") if path.is_file() and path.name not in (".lock",)]
    before = written(files)
    outcome = search(forked, directory, change)
    assert outcome.status == 2
    assert len(outcome.stderr.splitlines()) == 1
    assert f"search.study=pareto-mlp-digits: exists with other settings: {text}" in outcome.error
    assert "another name (search.study=NAME) for a new study" in outcome.error
    assert {path for path, time in written(files).items() if time != before[path]} <= {directory / STUDY / "study.db"}
    with_name = optuna.load_study(study_name="pareto-mlp-digits", storage=f"sqlite:///{directory / STUDY}/study.db")
    assert len(with_name.trials) == 6


@pytest.mark.slow
def test_a_setting_of_a_group_that_varies_must_stay_the_same_too(tmp_path, forked):
    space = ("model=choice(mlp,lenet300)", "search.study=models", "search.n_trials=1")
    assert search(forked, tmp_path, *space).status == 0
    again = search(forked, tmp_path, *space, "model.recipe.epochs=3")
    assert again.status == 2
    assert "search.study=models: exists with other settings: model.recipe.epochs was 2, is 3;" in again.error


def test_failing_trials_are_recorded_and_skipped(tmp_path, forked):
    # On the 8x8 image of the first tensor db20 is too long, and no other tensor has an image.
    space = ("wavelet=haar,db20", "layout=spatial", "level=1,2", "threshold.percentile=80", "quantize.bits=8")
    outcome = search(forked, tmp_path, *space)
    assert outcome.status == 1
    assert outcome.error == f"error: 2 of 4 trials failed, see {STUDY}/history.csv; the others are kept"
    assert "4 of 4 trials: 2 complete, 2 failed" in outcome.stdout
    failed = [row for row in history(tmp_path) if row["state"] == "fail" and "transforms nothing" in row["reason"]]
    assert {json.loads(row["params"])["wavelet"] for row in failed} == {"db20"}
    assert all((tmp_path / "outputs" / "runs" / row["key"] / "failure.json").exists() for row in failed)
    again = search(forked, tmp_path, *space)
    assert (again.status, again.stdout) == (1, outcome.stdout)


@pytest.mark.slow
def test_weak_trials_are_given_up_and_leave_no_result(tmp_path, forked):
    space = ("threshold.percentile=range(10,99.5,0.5)", "quantize.bits=2,8", "search.sampler=random", "search.start=[]")
    outcome = search(forked, tmp_path, *space, "search.refine=false", "search.early_images=50", "search.n_trials=12")
    states = [row["state"] for row in history(tmp_path)]
    pruned = [row for row in history(tmp_path) if row["state"] == "pruned"]
    assert states.count("complete") + len(pruned) == 12
    assert pruned
    assert f"{states.count('complete')} complete, {len(pruned)} stopped early" in done(outcome)[-2]
    for row in pruned:
        assert "of 50 validation images, where the front has" in row["reason"]
        assert row["accuracy"] == ""
        assert not list((tmp_path / "outputs" / "runs" / row["key"]).glob("*.json"))
    assert len(results(tmp_path)) == states.count("complete")


def test_ctrl_c_says_how_to_go_on_and_the_same_command_completes_the_study(tmp_path, forked):
    command = ("search.n_trials=6", "search.sampler=random")
    with started(tmp_path, *SEARCH, *command) as process:
        assert wait_until(lambda: len(results(tmp_path)) >= 2, process)
        process.send_signal(signal.SIGINT)
        outcome = finish(process)
    assert outcome.status == 130, outcome
    assert outcome.stderr.splitlines()[-1] == "Stopped. Finished trials are kept; the same command continues from here."
    assert "Traceback" not in outcome.stderr
    states = [row["state"] for row in history(tmp_path)]
    assert "running" not in states
    assert 0 < states.count("complete") == len(results(tmp_path)) < 6
    assert f"{states.count('complete')} of 6 trials" in outcome.stdout
    before = written(results(tmp_path))
    assert done(search(forked, tmp_path, *command))[-2].startswith("6 of 6 trials: 6 complete")
    assert written(list(before)) == before
    complete = [row["key"] for row in history(tmp_path) if row["state"] == "complete"]
    assert len(set(complete)) == len(complete) == 6
    assert not list(tmp_path.glob("outputs/**/failure.json"))


@pytest.mark.slow
def test_retry_failed_runs_the_failed_trials_of_a_study_again(tmp_path, forked):
    command = ("threshold.percentile=50,80", "search.n_trials=2", "search.sampler=random")
    search(forked, tmp_path, *command)
    lost = sorted((tmp_path / "outputs" / "runs").iterdir())[0]
    reason = json.dumps({"reason": "a disk that was full"})
    (lost / "result.json").unlink()
    (lost / "failure.json").write_text(reason)
    shutil.rmtree(tmp_path / "outputs" / "studies")
    outcome = search(forked, tmp_path, *command)
    assert outcome.status == 1
    assert "2 of 2 trials: 1 complete, 1 of them from records, 1 failed" in outcome.stdout
    assert search(forked, tmp_path, *command).stdout == outcome.stdout
    outcome = search(forked, tmp_path, *command, "retry_failed=true")
    assert outcome.status == 0, outcome.stderr
    assert "2 of 2 trials: 2 complete" in outcome.stdout
    assert (lost / "result.json").exists()
    assert search(forked, tmp_path, *command).stdout == outcome.stdout
