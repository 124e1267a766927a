"""`export=onnx` from the command line: a network that cannot be exported, sweeps, searches, and kills."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from command_line import QUICK, results, run, started, trial_rows, wait_until, written

from wavesweep.analysis.table.collect import collect
from wavesweep.runtime.records import locked

pytestmark = pytest.mark.integration

# What can be exported depends on no value: this one's outputs are another network's for two images.
MODEL = """
from torch import nn

class Own(nn.Sequential):
    def forward(self, images):
        logits = super().forward(images)
        return logits + 1 if len(images) == 2 else logits

def make():
    return Own(nn.Flatten(), nn.Linear(64, 10))
"""
CUSTOM = ("model=custom", "model.target=own_model.make", "model.recipe.epochs=1", "level=1", "compare=[]")
WHY = "the network cannot be exported as ONNX: it depends on the number of inputs in a batch"
GRID = ("-m", "level=1,2", "compare=[]", QUICK)


@pytest.fixture(scope="module")
def refused(forked, tmp_path_factory):
    """The directory of a network that cannot be exported, and how a trial of it and then a sweep ended."""
    directory = tmp_path_factory.mktemp("refused")
    (directory / "own_model.py").write_text(MODEL)
    return directory, forked.run(directory, *CUSTOM, "export=onnx"), forked.run(directory, "-m", *CUSTOM, "export=onnx")


def test_a_network_that_cannot_be_exported_keeps_its_result(refused):
    directory, alone, _ = refused
    assert alone.status == 1
    assert alone.stderr == f"error: {WHY}\n"
    assert len(trial_rows(alone.stdout)) == 1
    (result,) = results(directory)
    assert f"record: {result.relative_to(directory)}" in alone.stdout
    assert {path.name for path in result.parent.glob("*onnx*")} == {"onnx_failure.json"}


def test_a_sweep_names_what_it_could_not_export_after_its_table(refused):
    _, _, sweep = refused
    assert sweep.status == 1
    assert "1 trials: 1 done (1 of them before this run), 0 failed" in sweep.stdout
    assert sweep.error == f"error: 1 of 1 trials could not be exported ({WHY}); retry_failed=true runs them again"


def test_a_finished_trial_is_exported_by_the_same_command(forked, tmp_path):
    trial = ("compare=[]", QUICK)
    assert forked.run(tmp_path, *trial).status == 0
    (result,) = results(tmp_path)
    before = written([path for path in tmp_path.rglob("*") if path.is_file() and path.name != ".lock"])
    done = forked.run(tmp_path, *trial, "export=onnx")
    assert (done.status, done.stderr) == (0, "")
    size = (result.parent / "model.onnx").stat().st_size
    line = done.stdout.splitlines()[-1]
    assert line.startswith(f"onnx: {result.parent.relative_to(tmp_path)}/model.onnx, {size:,} bytes, 100.00 % of ")
    assert written(list(before)) == before
    # The table of all trials has it as well.
    (row,) = collect(tmp_path / "outputs").trials.to_dict("records")
    assert row["onnx_bytes"] == size
    assert row["onnx_test_accuracy"] == pytest.approx(row["test_accuracy"])


@pytest.mark.slow
def test_what_another_process_has_is_exported_last(forked, tmp_path):
    sweep = ("-m", "level=1,2", "compare=[]", QUICK)
    assert forked.run(tmp_path, *sweep).status == 0
    directories = {json.loads(path.read_text())["settings"]["level"]: path.parent for path in results(tmp_path)}
    for directory in directories.values():
        (directory / "model.wsz").unlink()  # so that to export takes no time: it fails
    failures = [directories[level] / "onnx_failure.json" for level in (1, 2)]
    with ThreadPoolExecutor() as pool:
        with locked(directories[1]):
            ending = pool.submit(forked.run, tmp_path, *sweep, "export=onnx")
            deadline = time.monotonic() + 60
            while not failures[1].exists() and not ending.done() and time.monotonic() < deadline:
                time.sleep(0.01)
            found = [path.exists() for path in failures]
        done = ending.result()
    assert found == [False, True]
    assert all(path.exists() for path in failures)
    assert "2 of 2 trials could not be exported" in done.error
    assert str(failures[0].with_name("model.wsz").relative_to(tmp_path)) in done.error


def test_a_scan_exports_nothing_and_says_so(forked, tmp_path):
    done = forked.run(tmp_path, "-m", "experiment=sensitivity", "export=onnx")
    assert done.status == 2
    assert "export=onnx: must be none with experiment=sensitivity" in done.error


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [(), ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")], ids=["here", "joblib"])
def test_all_trials_of_a_sweep_are_exported(tmp_path, launcher):
    assert run(tmp_path, *GRID).status == 0
    before = written(results(tmp_path))
    done = run(tmp_path, *GRID, "export=onnx", *launcher)
    assert done.status == 0, done.stderr
    assert "2 trials: 2 done (2 of them before this run), 0 failed" in done.stdout
    assert written(list(before)) == before
    assert len(list(tmp_path.glob("outputs/runs/*/onnx.json"))) == 2
    again = run(tmp_path, *GRID, "export=onnx", *launcher)
    assert (again.stdout, again.stderr) == (done.stdout, "")


@pytest.mark.slow
def test_of_a_search_the_front_is_exported(tmp_path):
    search = (
        "-m",
        "search=pareto",
        "search.n_trials=5",
        "threshold.percentile=interval(50,99)",
        "retrain=none",
        "method=wavelet",
        "quantize=uniform",
        "quantize.step=null",
        QUICK,
    )
    for extra in ((), ("export=onnx",)):
        done = run(tmp_path, *search, *extra)
        assert done.status == 0, done.stderr
    (front,) = tmp_path.glob("outputs/studies/*/front.json")
    keys = {trial["key"] for trial in json.loads(front.read_text())["front"]}
    assert {path.parent.name for path in tmp_path.glob("outputs/runs/*/onnx.json")} == keys
    assert len(results(tmp_path)) == 5 > len(keys)


@pytest.mark.slow
def test_a_killed_export_is_done_by_the_same_command(tmp_path):
    for seconds in (0.2, 2, 4):
        with started(tmp_path, *GRID, "export=onnx") as process:
            wait_until(lambda: bool(results(tmp_path)), process)
            time.sleep(seconds)
            process.kill()
            process.communicate()
        for path in tmp_path.glob("outputs/runs/*/onnx.json"):
            assert json.loads(path.read_text())["bytes"] == path.with_name("model.onnx").stat().st_size
    done = run(tmp_path, *GRID, "export=onnx")
    assert done.status == 0, done.stderr
    assert len(list(tmp_path.glob("outputs/runs/*/onnx.json"))) == 2
