"""Errors of Hydra and OmegaConf that reach a user as one line of ours."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf.errors import OmegaConfBaseException

from wavesweep.cli.composition import compose_settings, explain, register_configuration
from wavesweep.cli.flags import check_flags
from wavesweep.cli.hydra_errors import HydraProblem, Problem, problem_of
from wavesweep.cli.hydra_internals import configuration_loader
from wavesweep.cli.remedies import comma_hint
from wavesweep.errors import SettingsError
from wavesweep.settings.schema import config_directory

FORMS = "must be choice(A,B,...), interval(LOW,HIGH) or range(START,STOP,STEP)"


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("level=interval(a,b)", f"start must be a number; {FORMS}"),
        ("level=range(1,b)", f"stop must be a number; {FORMS}"),
        ("level=interval(1)", f"end is missing; {FORMS}"),
        ("level=choice()", f"empty choice is not legal; {FORMS}"),
        ("level=tag(log)", f"Last argument to tag() must be a choice(), range() or interval(), got NoneType; {FORMS}"),
        (
            "quantize.step=choice(null,0.05)",
            "null cannot be given to a function; write the values alone: quantize.step=null,0.05",
        ),
        (
            "level=foo(1)",
            f"there is no function foo; {FORMS}; a text with parentheses in quotes: 'level=\"foo(1)\"'",
        ),
    ],
)
def test_a_function_that_is_called_wrongly_is_named_with_what_it_takes(line, text):
    with pytest.raises(HydraException) as raised:
        OverridesParser.create().parse_overrides(["seed=1", line])
    assert explain(raised.value) == f"{line}: {text}"


@pytest.mark.parametrize("line", ["level=interval(1,2)", "level=choice(1,2)", "level=range(1,3)", "level=1,2"])
def test_every_form_of_several_values_needs_a_sweep(line):
    register_configuration()
    with pytest.raises(HydraException) as raised:
        configuration_loader(config_directory()).load_configuration("config", [line], run_mode=RunMode.RUN)
    assert explain(raised.value) == f"{line}: several values need a sweep; add -m: python -m wavesweep -m {line}"


@pytest.mark.parametrize("key", ["dataset.path", "model.checkpoint", "paths.outputs", "threshold.sensitivity"])
def test_a_path_with_a_comma_goes_in_quotes(key):
    line = f"{key}=/data/a,b"
    register_configuration()
    with pytest.raises(HydraException) as raised:
        configuration_loader(config_directory()).load_configuration("config", [line], run_mode=RunMode.RUN)
    quoted = f"'{key}=\"/data/a,b\"'"
    assert explain(raised.value).endswith(f"put a path that has one in quotes: {quoted}")
    assert comma_hint(key, ["-m", line]) == f"; a path with a comma goes in quotes: {quoted}"
    assert not comma_hint(key, [f'{key}="/data/a,b"']) + comma_hint(key, [f"{key}=/a"]) + comma_hint("level", [line])


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (
            "paths.data=${oc.env:NO_SUCH}",
            "environment variable NO_SUCH not found; set it, or give a default: ${oc.env:NO_SUCH,VALUE}",
        ),
        ("level=${nosuch.key}", "key nosuch.key not found"),
        ("paths.data=${nosuch:3}", "resolver nosuch not found"),
        ("wavelet=${wavelet}", "it refers to itself"),
        ("paths.outputs=???", "must be a directory that can be written"),
    ],
)
def test_a_value_without_a_meaning_is_shown_as_it_is_written(line, text):
    with pytest.raises(SettingsError) as raised:
        compose_settings([line])
    assert str(raised.value) == f"{line}: {text}"


@pytest.mark.parametrize("line", ["~nothing", "~model.nothing"])
def test_a_key_that_is_not_there_cannot_be_deleted(line):
    register_configuration()
    with pytest.raises((HydraException, OmegaConfBaseException)) as raised:
        configuration_loader(config_directory()).load_configuration("config", [line], run_mode=RunMode.RUN)
    assert explain(raised.value).startswith(f"{line[1:]}: there is no such key; ")


def test_what_cannot_be_deleted_is_no_wrong_value():
    line = "~threshold.percentile"
    register_configuration()
    with pytest.raises((HydraException, OmegaConfBaseException)) as raised:
        configuration_loader(config_directory()).load_configuration("config", [line], run_mode=RunMode.RUN)
    assert problem_of(raised.value) == HydraProblem(Problem.DELETION, value=line)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--multirn", "level=1"], "--multirn: there is no such flag; did you mean --multirun?"),
        (["level=1", "--confg-dir=x"], "--confg-dir=x: there is no such flag; did you mean --config-dir?"),
        (["-x"], "-x: there is no such flag; "),
        (["--cfg", "nosuch"], "--cfg/-c: invalid choice: 'nosuch' "),
        (["--config-dir"], "--config-dir/-cd: expected one argument; see --hydra-help"),
        (["--resolve"], "--resolve: needs --cfg job, "),
        (["--package", "model"], "--package: needs --cfg job, "),
        (["--experimental-rerun", "x"], "--experimental-rerun: is not for wavesweep; "),
    ],
)
def test_a_wrong_flag_is_one_line(arguments, text):
    with pytest.raises(SettingsError) as raised:
        check_flags(arguments)
    assert str(raised.value).startswith(text)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "arguments",
    [[], ["-m", "level=1,2"], ["level=1", "-m"], ["--cfg", "job", "--resolve"], ["--help"], ["--config-dir", "."]],
)
def test_flags_that_are_right_are_left_alone(arguments):
    check_flags(arguments)
