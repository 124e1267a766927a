"""What of Hydra's own is refused, in the composed configuration and before anything is made."""

from copy import deepcopy

import optuna
import pytest
from hydra.core.config_store import ConfigStore
from hydra.types import RunMode
from omegaconf import open_dict

from wavesweep.cli.composition import compose_settings, register_configuration
from wavesweep.cli.hydra_internals import configuration_loader, store_maximising_optuna
from wavesweep.cli.hydra_settings import check_hydra
from wavesweep.cli.sweepers import register_sweepers
from wavesweep.errors import SettingsError
from wavesweep.settings.schema import config_directory

RECORDS = "paths.outputs"


@pytest.fixture(scope="module")
def check():
    """Checks what Hydra composes of the lines; `-m` among them makes it a sweep."""
    store = ConfigStore.instance()
    loader = configuration_loader(config_directory())
    register_configuration()
    before = deepcopy(store.repo)  # with what modules store once, when they are imported
    register_sweepers()
    store_maximising_optuna()

    def composed(*lines):
        mode = RunMode.MULTIRUN if "-m" in lines else RunMode.RUN
        overrides = [line for line in lines if line != "-m"]
        config = loader.load_configuration("config", overrides, run_mode=mode, from_shell=False)
        with open_dict(config):
            config.hydra.mode = mode
        check_hydra(config)
        return config

    yield composed
    store.repo = before


REFUSED = {
    "group that is deleted": (["~quantize"], ["~quantize", "quantize=none|uniform|kmeans|rdo"]),
    "group that is deleted by its option": (["~retrain=none"], ["~retrain=none", "retrain=none|"]),
    "model that is deleted in a sweep": (["-m", "~model"], ["~model", "model=", "lenet5"]),
    "search that is deleted": (["-m", "~search"], ["~search", "search=none|pareto"]),
    "experiment that is deleted": (["~experiment"], ["~experiment", "experiment=null|"]),
    "key that is deleted": (["~wavelet"], ["~wavelet", "wavelet=VALUE", "discrete wavelet"]),
    "mapping that is deleted": (["~paths"], ["~paths", "paths=VALUE"]),
    "launcher that is deleted": (["-m", "~hydra/launcher"], ["~hydra/launcher", "leave it out"]),
    "two searches": (["-m", "search=pareto", "search=none"], ["search=pareto search=none", "give one"]),
    "search and a sweeper of another kind": (
        ["-m", "search=pareto", "hydra/sweeper=optuna"],
        ["search=pareto", "hydra/sweeper=optuna", "leave one out"],
    ),
    "search and an experiment with its own sweeper": (
        ["-m", "search=pareto", "experiment=sensitivity"],
        ["search=pareto", "experiment=sensitivity", "leave one out"],
    ),
    "two options of a group": (["quantize=none", "quantize=rdo"], ["quantize=none quantize=rdo", "give one"]),
    "directory of a run": (["hydra.run.dir=x"], ["hydra.run.dir=x", "no effect", RECORDS]),
    "directory of a run in a sweep": (["-m", "hydra.run.dir=x"], ["hydra.run.dir=x", "single runs", RECORDS]),
    "directory of a sweep": (["-m", "hydra.sweep.dir=x"], ["hydra.sweep.dir=x", "no effect", RECORDS]),
    "directory of a search": (
        ["-m", "search=pareto", "hydra.sweep.dir=x"],
        ["hydra.sweep.dir=x", "no effect", RECORDS],
    ),
    "directory of a sweep by joblib": (
        ["-m", "hydra/launcher=joblib", "hydra.sweep.dir=x"],
        ["hydra.sweep.dir=x", "no effect"],
    ),
    "directory of a sweep in a single run": (["hydra.sweep.dir=x"], ["hydra.sweep.dir=x", "is for sweeps", "-m"]),
    "directories of jobs": (["-m", "hydra.sweep.subdir=x"], ["hydra.sweep.subdir=x", "no effect"]),
    "directories of Optuna's jobs": (
        ["-m", "hydra/sweeper=optuna", "hydra.sweep.subdir=x"],
        ["hydra.sweep.subdir=x", "no effect"],
    ),
    "directory of settings": (["hydra.output_subdir=.hydra"], ["hydra.output_subdir=.hydra", "config.yaml"]),
    "change of directory": (["hydra.job.chdir=true"], ["hydra.job.chdir=true", "no effect"]),
    "names of directories": (
        ["hydra.job.config.override_dirname.kv_sep=x"],
        ["override_dirname.kv_sep=x", "no effect"],
    ),
    "what Hydra sets": (["hydra.runtime.output_dir=x"], ["hydra.runtime.output_dir=x", "set by Hydra"]),
    "reference to nothing in what is unused": (["hydra.run.dir=${oc.env:NO_SUCH}"], ["hydra.run.dir=${oc.env:"]),
    "launcher of a single run": (["hydra/launcher=basic"], ["hydra/launcher=basic", "is for sweeps", "-m"]),
    "sweeper of a single run": (["hydra/sweeper=optuna"], ["hydra/sweeper=optuna", "is for sweeps", "-m"]),
    "Optuna that minimises": (
        ["-m", "hydra/sweeper=optuna", "hydra.sweeper.direction=minimize"],
        ["hydra.sweeper.direction=minimize", "must be maximize", "search=pareto"],
    ),
    "Optuna with two directions": (
        ["-m", "hydra/sweeper=optuna", "hydra.sweeper.direction=[maximize,minimize]"],
        ["hydra.sweeper.direction=", "must be maximize"],
    ),
    "another sweeper that minimises": (
        ["-m", "hydra/sweeper=optuna", "hydra.sweeper.direction=null", "+hydra.sweeper.optim={maximize: false}"],
        ["hydra.sweeper.optim.maximize=False", "must be true"],
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_be_ignored_is_one_line_with_what_to_do(check, name):
    lines, expected = REFUSED[name]
    with pytest.raises(SettingsError) as raised:
        check(*lines)
    assert "\n" not in str(raised.value)
    for text in expected:
        assert text in str(raised.value)


ACCEPTED = [
    [],
    ["-m", "level=1,2", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"],
    ["-m", "search=pareto", "~hydra.sweeper.params.level"],
    ["+model.arguments.a=1", "+model.arguments.b=2", "~model.arguments.a"],
    ["quantize=rdo", "quantize=rdo"],
    ["level=1", "level=2"],
    ["hydra.run.dir=."],
    ["hydra.run.dir=logs", "hydra/job_logging=default"],
    ["-m", "hydra.sweep.dir=logs", "hydra/job_logging=default"],
    ["-m", "hydra/sweeper=optuna", "hydra.sweep.dir=x"],
    ["-m", "hydra/sweeper=optuna", "hydra.sweeper.direction=[maximize]"],
    ["hydra.job.env_set.A=1", "hydra.verbose=true", "hydra.job.name=mine"],
    ["paths.data=${oc.env:NO_SUCH}"],
]


@pytest.mark.parametrize("lines", ACCEPTED, ids=" ".join)
def test_what_has_an_effect_is_accepted(check, lines):
    free = {"hydra.job.env_set.A=1": "+hydra.job.env_set.A=1"}
    check(*(free.get(line, line) for line in lines))


def test_the_plugins_own_optuna_sweeper_maximises(check):
    config = check("-m", "hydra/sweeper=optuna")
    assert config.hydra.sweeper.direction.name == "maximize"
    assert config.hydra.sweeper.n_trials == 20  # the rest is the plugin's own


def test_a_sweeper_that_says_no_direction_gets_a_note(check, capsys):
    check("-m", "hydra/sweeper=optuna", "hydra.sweeper.direction=null")
    assert capsys.readouterr().err == (
        "note: hydra/sweeper=optuna is given the validation accuracy of each trial, of which more is better\n"
    )


@pytest.mark.integration
def test_a_study_that_was_made_to_minimise_is_refused(check, tmp_path):
    url = f"sqlite:///{tmp_path}/study.db"
    optuna.create_study(study_name="old", storage=url, direction="minimize")
    optuna.create_study(study_name="good", storage=url, direction="maximize")
    lines = ["-m", "hydra/sweeper=optuna", f"hydra.sweeper.storage={url}"]
    with pytest.raises(SettingsError, match=r"study_name=old: exists with direction minimize.*new name"):
        check(*lines, "hydra.sweeper.study_name=old")
    for name in ("good", "new"):
        check(*lines, f"hydra.sweeper.study_name={name}")


@pytest.mark.parametrize("line", ["~quantize", "~wavelet", "~threshold.percentile", "~codec=range"])
def test_a_library_call_refuses_deletions_too(line):
    with pytest.raises(SettingsError, match=f"^{line}: .* cannot be deleted"):
        compose_settings([line])
