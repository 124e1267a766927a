"""The joblib launcher: several trials at once, the same records."""

import joblib
import pytest
from command_line import ENVIRONMENT, QUICK, README_SWEEP, records, run, trial_rows, without_timings


@pytest.mark.slow
def test_joblib_sweep_gives_the_records_of_the_plain_one(readme_sweep, tmp_path):
    outcome = run(tmp_path, *README_SWEEP, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    assert outcome.status == 0, outcome.stderr
    assert "6 trials: 6 done (0 of them before this run), 0 failed" in outcome.stdout
    assert trial_rows(outcome.stdout) == trial_rows(readme_sweep[1].stdout)
    assert without_timings(records(tmp_path)) == without_timings(records(readme_sweep[0]))
    assert "Traceback" not in outcome.stderr


@pytest.mark.slow
def test_joblib_sweep_goes_on_after_a_failed_trial(tmp_path):
    line = ["-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "wavelet=haar,db20,sym2", "layout=spatial"]
    outcome = run(tmp_path, *line, "model.recipe.epochs=2")
    assert outcome.status == 1
    assert "3 trials: 2 done (0 of them before this run), 1 failed" in outcome.stdout
    assert outcome.error == "error: 1 of 3 trials failed, see the table; retry_failed=true runs them again"
    assert "transforms nothing" in trial_rows(outcome.stdout)[1]


@pytest.mark.slow
def test_wrong_setting_is_refused_before_any_worker_starts(tmp_path):
    outcome = run(tmp_path, "-m", "hydra/launcher=joblib", "level=1,0")
    assert outcome.status == 2
    assert outcome.stderr.startswith("error: level=0: ")
    assert len(outcome.stderr.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("own", [None, joblib.cpu_count()], ids=["not set", "set by the user"])
def test_workers_share_the_cores(tmp_path, own):
    environment = {name: value for name, value in ENVIRONMENT.items() if name != "OMP_NUM_THREADS"}
    if own is not None:
        environment["OMP_NUM_THREADS"] = str(own)
    line = ("-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "level=1,2", QUICK, "compare=[]")
    outcome = run(tmp_path, *line, env=environment)
    assert outcome.status == 0, outcome.stderr
    expected = own if own else max(1, joblib.cpu_count() // 2)
    assert [record["environment"]["threads"] for record in records(tmp_path).values()] == [expected] * 2
