"""Launchers of clusters, as far as one machine can run them: submitit's local executor, and Ray started here."""

import sys
from importlib.util import find_spec

import pytest
from command_line import ENVIRONMENT, records, run, trial_rows
from hydra.errors import MissingConfigException

from wavesweep.cli.composition import explain

HAS_SUBMITIT = find_spec("hydra_plugins") is not None and find_spec("hydra_plugins.hydra_submitit_launcher") is not None
HAS_RAY = find_spec("hydra_plugins") is not None and find_spec("hydra_plugins.hydra_ray_launcher") is not None
needs_submitit = pytest.mark.skipif(not HAS_SUBMITIT, reason="hydra-submitit-launcher is not installed")
needs_ray = pytest.mark.skipif(not HAS_RAY, reason="hydra-ray-launcher is not installed")
# One of these trials fails: db20 transforms nothing of eight values.
SWEEP = ("-m", "wavelet=haar,db20,sym2", "layout=spatial", "model.recipe.epochs=2")
# Ray's processes talk to each other over the network of this machine.
LOCAL = {**ENVIRONMENT, "no_proxy": "*", "NO_PROXY": "*", "RAY_USAGE_STATS_ENABLED": "0"}


def assert_one_failed_and_the_others_are_kept(directory, outcome):
    assert outcome.status == 1, outcome.stderr
    assert "3 trials: 2 done (0 of them before this run), 1 failed" in outcome.stdout
    assert outcome.error == "error: 1 of 3 trials failed, see the table; retry_failed=true runs them again"
    assert "transforms nothing" in trial_rows(outcome.stdout)[1]
    assert "Traceback" not in outcome.stderr
    assert len(records(directory)) == 2


@pytest.mark.slow
@needs_submitit
def test_submitit_runs_the_sweep_in_jobs_of_this_machine(tmp_path):
    outcome = run(tmp_path, *SWEEP, "hydra/launcher=submitit_local")
    assert_one_failed_and_the_others_are_kept(tmp_path, outcome)


@needs_submitit
def test_slurm_jobs_have_what_is_asked_for(forked, tmp_path):
    options = ("hydra/launcher=submitit_slurm", "hydra.launcher.partition=gpu", "hydra.launcher.timeout_min=600")
    outcome = forked.run(tmp_path, *options, "--cfg", "hydra", "-p", "hydra.launcher")
    assert outcome.status == 0, outcome.stderr
    lines = outcome.stdout.splitlines()
    assert "_target_: hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher" in lines
    assert "partition: gpu" in lines
    assert "timeout_min: 600" in lines


@pytest.mark.slow
@needs_submitit
def test_without_slurm_the_error_is_one_line(tmp_path):
    outcome = run(tmp_path, *SWEEP, "hydra/launcher=submitit_slurm")
    assert outcome.status == 1
    assert "slurm" in outcome.error
    assert "Traceback" not in outcome.stderr


@pytest.mark.slow
@needs_ray
@pytest.mark.skipif(sys.platform != "linux", reason="starts Ray, which is quick on Linux only")
def test_ray_runs_the_sweep_on_this_machine(tmp_path):
    line = ("hydra/launcher=ray", "+hydra.launcher.ray.init.num_cpus=2")
    outcome = run(tmp_path, *SWEEP, *line, env=LOCAL)
    assert_one_failed_and_the_others_are_kept(tmp_path, outcome)


@pytest.mark.parametrize(
    ("launcher", "extra"), [("ray", "ray"), ("submitit_slurm", "slurm"), ("submitit_local", "slurm")]
)
def test_missing_launcher_says_what_to_install(launcher, extra):
    missing = MissingConfigException("Could not find it", f"hydra/launcher/{launcher}", ["basic", "joblib"])
    assert explain(missing) == (
        f"hydra/launcher={launcher}: needs another package; pip install 'wavesweep[{extra}]', "
        "or choose one of basic, joblib"
    )
