"""Facts about the installed Hydra, its plugins and OmegaConf that `wavesweep.cli.hydra_internals` relies on.

A new release candidate that changes one of them fails here, with the name of what it changed.
"""

import subprocess
import sys
from importlib.util import find_spec

import pytest
from hydra import initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, RunMode
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from wavesweep.cli.composition import register_configuration
from wavesweep.cli.hydra_errors import HydraProblem, Problem, problem_of, value_problem
from wavesweep.cli.hydra_internals import (
    LauncherKind,
    configuration_loader,
    distribution_of,
    joblib_with,
    joblib_workers,
    launcher_kind,
    outcome_of,
    parallel_tasks,
    quieten_ray,
)
from wavesweep.settings.schema import config_directory

PARSER = OverridesParser.create()


@pytest.fixture(scope="module")
def loader():
    register_configuration()
    return configuration_loader(config_directory())


def composed(loader, *lines, mode=RunMode.RUN):
    return loader.load_configuration("config", list(lines), run_mode=mode)


def refused(loader, *lines):
    """The problem for which Hydra refuses these lines."""
    with pytest.raises((HydraException, OmegaConfBaseException, ValueError)) as raised:
        composed(loader, *lines)
    return problem_of(raised.value)


def test_an_unknown_option_names_its_group_and_the_options_that_there_are(loader):
    problem = refused(loader, "codec=zip")
    assert problem == HydraProblem(Problem.UNKNOWN_OPTION, "codec", "zip", ("huffman", "none", "range"))
    problem = refused(loader, "hydra/launcher=nosuch")
    assert (problem.kind, problem.key, problem.value) == (Problem.UNKNOWN_OPTION, "hydra/launcher", "nosuch")
    assert "basic" in problem.options


@pytest.mark.parametrize(
    ("line", "key", "inner"),
    [
        ("levle=1", "levle", "levle"),
        ("threshold.percentil=1", "threshold.percentil", "threshold.percentil"),
        ("model.recipe={epoch: 1}", "model.recipe", "model.recipe.epoch"),
        ("layers.overrides=[{mach: a}]", "layers.overrides", "mach"),
    ],
)
def test_an_unknown_key_is_named(loader, line, key, inner):
    problem = refused(loader, line)
    assert (problem.kind, problem.key) == (Problem.UNKNOWN_KEY, key)
    assert problem.inner in (inner, f"{key}[0].{inner}", f"{key}.{inner}")


def test_a_value_of_the_wrong_type_comes_with_its_key_and_a_reason_of_one_line(loader):
    problem = refused(loader, "seed=banana")
    assert (problem.kind, problem.key, problem.value) == (Problem.BAD_VALUE, "seed", "banana")
    assert "banana" in problem.text
    assert "\n" not in problem.text


def test_a_value_that_omegaconf_refuses_without_hydra_is_the_same_problem(loader):
    with pytest.raises(OmegaConfBaseException) as raised:
        OmegaConf.update(composed(loader), "seed", "banana", merge=True)
    problem = value_problem("++seed=banana", raised.value)
    assert (problem.kind, problem.key, problem.value) == (Problem.BAD_VALUE, "seed", "banana")


def test_several_values_without_a_sweep_are_recognised(loader):
    assert refused(loader, "level=1,2") == HydraProblem(Problem.SEVERAL_VALUES, value="level=1,2")
    assert composed(loader, "level=1,2", mode=RunMode.MULTIRUN)


@pytest.mark.parametrize("line", ["compare=[unit", "wavelet=a=b", "level={", "seed=)", "foo:", "[x", "wavelet"])
def test_what_is_no_override_comes_with_the_argument(line):
    with pytest.raises(HydraException) as raised:
        PARSER.parse_overrides(["level=1", line, "seed=0"])
    assert problem_of(raised.value) == HydraProblem(Problem.SYNTAX, value=line)


@pytest.mark.parametrize("line", ["model=null", "model=3"])
def test_a_group_whose_option_is_no_name_is_recognised(loader, line):
    assert refused(loader, line).kind == Problem.NO_NAME


def test_flags_that_exclude_each_other_are_recognised(tmp_path):
    arguments = ["-m", "--cfg", "job"]
    script = "import hydra\nhydra.main(config_path=None)(print)()\n"
    (tmp_path / "app.py").write_text(script)
    command = [sys.executable, "app.py", *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    text = done.stderr.strip().splitlines()[-1].removeprefix("ValueError: ")
    assert problem_of(ValueError(text)) == HydraProblem(Problem.EXCLUSIVE_FLAGS, text=text)
    assert "--multirun" in text
    assert "--cfg" in text


def test_other_errors_are_one_line_without_a_link(loader):
    assert problem_of(ValueError("one\n  two\nSee https://hydra.cc/x for more")).text == "one two"


def test_the_loader_composes_what_hydra_does_without_being_an_application(loader):
    assert not GlobalHydra.instance().is_initialized()
    config = composed(loader, "model=lenet5", "level=2")
    assert (config.model.name, config.level) == ("lenet5", 2)
    assert config.hydra.runtime.choices["model"] == "lenet5"
    point = loader.load_sweep_config(composed(loader, mode=RunMode.MULTIRUN), ["level=1"])
    assert point.level == 1


SPANS = [
    ("wavelet=haar,db2", CategoricalDistribution(("haar", "db2"))),
    ("wavelet=choice(haar,db2)", CategoricalDistribution(("haar", "db2"))),
    ("level=1,max", CategoricalDistribution((1, "max"))),
    ("shrink=true,false", CategoricalDistribution((True, False))),
    ("level=range(1,5)", IntDistribution(1, 4)),
    ("level=int(interval(1,4))", IntDistribution(1, 4)),
    ("threshold.percentile=range(40,99.5,0.5)", FloatDistribution(40, 99, step=0.5)),
    ("threshold.percentile=interval(50,95)", FloatDistribution(50, 95)),
    ("quantize.step=tag(log,interval(0.001,0.1))", FloatDistribution(0.001, 0.1, log=True)),
]


@pytest.mark.parametrize(("line", "expected"), SPANS)
def test_each_form_of_override_makes_its_distribution(line, expected):
    assert distribution_of(PARSER.parse_override(line)) == expected


@pytest.mark.parametrize(
    ("line", "reason"),
    [("level=range(5,1)", "at least one value"), ("level=interval(9.5,5)", "low <= high"), ("level=2", "^$")],
)
def test_what_makes_no_distribution_has_a_reason_of_one_line(line, reason):
    with pytest.raises(ValueError, match=reason) as raised:
        distribution_of(PARSER.parse_override(line))
    assert "\n" not in str(raised.value)


def launcher_of(name, *lines, task=print):
    """The launcher that Hydra makes for `hydra/launcher=name`."""
    register_configuration()
    with initialize_config_dir(str(config_directory())):
        loader = GlobalHydra.instance().config_loader()
        config = composed(loader, f"hydra/launcher={name}", *lines, mode=RunMode.MULTIRUN)
        context = HydraContext(config_loader=loader, callbacks=Callbacks(config))
        return Plugins.instance().instantiate_launcher(hydra_context=context, task_function=task, config=config)


def installed(plugin):
    return find_spec("hydra_plugins") is not None and find_spec(f"hydra_plugins.{plugin}") is not None


needs_submitit = pytest.mark.skipif(not installed("hydra_submitit_launcher"), reason="its launcher is not installed")
needs_ray = pytest.mark.skipif(not installed("hydra_ray_launcher"), reason="its launcher is not installed")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("basic", LauncherKind.IN_PROCESS),
        ("joblib", LauncherKind.JOBLIB),
        pytest.param("submitit_local", LauncherKind.SUBMITIT_LOCAL, marks=needs_submitit),
        pytest.param("submitit_slurm", LauncherKind.OTHER, marks=needs_submitit),
        pytest.param("ray", LauncherKind.RAY, marks=needs_ray),
    ],
)
def test_each_launcher_is_recognised(name, kind):
    assert launcher_kind(launcher_of(name)) == kind


def test_joblibs_workers_are_read_and_set_for_a_while():
    launcher = launcher_of("joblib", "hydra.launcher.n_jobs=3")
    assert joblib_workers(launcher) == 3
    with joblib_with(launcher, 2, print):
        assert (joblib_workers(launcher), launcher.joblib["initializer"]) == (2, print)
    assert joblib_workers(launcher) == 3


def test_joblibs_launcher_hands_its_options_to_joblib(monkeypatch):
    """The number of workers and their initialiser arrive where the processes are started."""
    from hydra_plugins.hydra_joblib_launcher import _core

    class StartedError(Exception):
        pass

    def start(**options):
        raise StartedError(options)

    monkeypatch.setattr(_core, "Parallel", start)
    launcher = launcher_of("joblib")
    with pytest.raises(StartedError) as raised, joblib_with(launcher, 2, print):
        launcher.launch([["level=1"]], initial_job_idx=0)
    (options,) = raised.value.args
    assert (options["n_jobs"], options["initializer"]) == (2, print)


@needs_submitit
def test_the_parallel_tasks_of_a_job_array_are_read():
    assert parallel_tasks(launcher_of("submitit_slurm", "hydra.launcher.array_parallelism=7")) == 7


def test_a_launcher_that_says_nothing_of_tasks_has_no_number():
    assert parallel_tasks(launcher_of("joblib")) is None


@needs_ray
def test_ray_is_made_quiet():
    launcher = launcher_of("ray", "+hydra.launcher.ray.init.num_cpus=2")
    quieten_ray(launcher)
    init = launcher.ray_cfg.init
    assert (init.log_to_driver, init.include_dashboard, init.num_cpus) == (False, False, 2)


def test_rays_own_options_stay(loader):
    class RayLauncher(Launcher):
        ray_cfg = OmegaConf.create({"init": {"address": "auto", "log_to_driver": True}, "remote": {}})
        setup = launch = None

    launcher = RayLauncher()
    assert launcher_kind(launcher) == LauncherKind.RAY
    quieten_ray(launcher)
    assert launcher.ray_cfg.init == {"address": "auto", "log_to_driver": True, "logging_level": "warning"}


def test_what_a_job_returned_or_raised_is_read_without_raising_it():
    error = ValueError("no")
    assert outcome_of(JobReturn(status=JobStatus.COMPLETED, _return_value=0.5)) == 0.5
    assert outcome_of(JobReturn(status=JobStatus.FAILED, _return_value=error)) is error


def test_a_real_job_gives_its_value_and_its_error(tmp_path):
    launcher = launcher_of("basic", f"paths.outputs={tmp_path}", task=lambda config: 1 / config.seed)
    done, failed = map(outcome_of, launcher.launch([["seed=2"], ["seed=0"]], initial_job_idx=0))
    assert done == 0.5
    assert isinstance(failed, ZeroDivisionError)


IMPORTS_NOTHING = """
import sys
import torch
from torch import nn
import wavesweep
assert wavesweep.compress(nn.Linear(16, 8), ["layout=flat", "wavelet=haar", "level=1"]).stored_bytes
print("\\n".join(sys.modules))
"""
# Hydra's interfaces, which `import hydra` loads, and its defaults, whose options every configuration of Hydra chooses.
HYDRAS_OWN = {
    "hydra.plugins.launcher",
    "hydra.plugins.sweeper",
    "hydra._internal.core_plugins.basic_launcher",
    "hydra._internal.core_plugins.basic_sweeper",
}


@pytest.mark.integration
def test_a_library_call_imports_no_sweeper_and_no_launcher():
    command = [sys.executable, "-c", IMPORTS_NOTHING]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loaded = done.stdout.split()
    assert "hydra" in loaded
    assert {name for name in loaded if "launcher" in name or "sweeper" in name} <= HYDRAS_OWN
    assert not [name for name in loaded if name.split(".")[0] in ("hydra_plugins", "optuna")]
    assert not [name for name in loaded if name.startswith("wavesweep.sweep")]


def test_importing_the_module_of_internals_imports_no_plugin():
    script = "import sys, wavesweep.cli.hydra_internals; print([n for n in sys.modules if 'plugins' in n])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "core_plugins" not in done.stdout
    assert "hydra_plugins" not in done.stdout
    assert "optuna" not in done.stdout
