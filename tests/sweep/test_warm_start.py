"""Earlier trials that lie in the space of a search."""

import json

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from records import example

from wavesweep.cli.search_space import parse_space
from wavesweep.errors import SettingsError
from wavesweep.sweep.search.conditions import Tree
from wavesweep.sweep.search.warm_start import earlier_trials

SPACE = parse_space(
    OverridesParser.create().parse_overrides(
        ["level=1,2,max", "threshold.percentile=range(40,41,0.1)", "model=mlp,lenet300", "shrink=true,false"]
    )
)
GROUPS = {"model": "model.name"}
INSIDE = {"level": 1, "threshold": {"percentile": 40.3}, "model": {"name": "mlp"}, "shrink": False, "compare": []}
PARAMS = {"level": 1, "threshold.percentile": 40.3, "model": "mlp", "shrink": False}


def key_of(params, compared):
    return "-".join(map(str, [*params.values(), *compared]))


@pytest.fixture
def runs(tmp_path):
    def write(name, option=None, **changes):
        settings = {**INSIDE, **changes}
        option = option or (settings["model"]["name"] if isinstance(settings["model"], dict) else "mlp")
        params = [settings["level"], settings["threshold"].get("percentile"), option, settings["shrink"]]
        key = "-".join(map(str, [*params, *settings["compare"]]))
        (tmp_path / key).mkdir()
        record = example(key=key)
        record["settings"] |= settings
        (tmp_path / key / "result.json").write_text(json.dumps(record))
        return record

    write.directory = tmp_path
    return write


def found_in(runs, key_of=key_of):
    return earlier_trials(runs.directory, Tree(SPACE.distributions), GROUPS, key_of)


def test_a_record_in_the_space_is_found_with_its_parameters(runs):
    record = runs("a")
    assert found_in(runs) == [(PARAMS, record)]
    ((params, _),) = found_in(runs)
    assert list(params) == list(SPACE.distributions)
    assert isinstance(params["shrink"], bool)


def test_an_option_is_found_whose_name_is_not_what_it_sets(runs):
    # As quantize=rdo sets quantize.name=uniform, with other settings.
    record = runs("a", option="lenet300", model={"name": "mlp"})
    assert found_in(runs) == [({**PARAMS, "model": "lenet300"}, record)]


def test_controls_beside_the_main_arm_do_not_matter(runs):
    record = runs("a", compare=["magnitude", "random"])
    assert found_in(runs) == [(PARAMS, record)]


def test_a_choice_of_whole_numbers_finds_the_floats_that_they_set(runs):
    record = runs("a", threshold={"percentile": 80.0})
    space = parse_space(OverridesParser.create().parse_overrides(["threshold.percentile=60,80"]))
    ((params, found),) = earlier_trials(
        runs.directory, Tree(space.distributions), {}, lambda params, compared: record["key"]
    )
    assert (repr(params), found) == ("{'threshold.percentile': 80}", record)


@pytest.mark.parametrize(
    "changes",
    [
        {"level": 3},
        {"level": None},
        {"threshold": {"percentile": 40.35}},
        {"threshold": {"percentile": 41.0}},
        {"threshold": {}},
        {"model": {"name": "lenet5"}},
        {"model": "mlp"},
    ],
)
def test_a_record_outside_of_the_space_is_left_out(runs, changes):
    runs("a", **changes)
    assert found_in(runs) == []


def test_a_record_that_differs_in_what_the_space_leaves_open_has_another_key(runs):
    runs("a")
    assert found_in(runs, lambda params, compared: "another") == []


def test_a_point_whose_settings_are_refused_is_left_out(runs):
    def refused(params, compared):
        raise SettingsError("level", params["level"], "is wrong")

    runs("a")
    assert found_in(runs, refused) == []


def test_what_is_no_finished_trial_is_left_out(runs):
    for name, text in {"half": '{"arms": [', "failed": '{"reason": "x"}', "list": "[]"}.items():
        (runs.directory / name).mkdir()
        (runs.directory / name / "result.json").write_text(text)
    (runs.directory / "begun").mkdir()
    assert found_in(runs) == []
    assert earlier_trials(runs.directory / "nowhere", Tree(SPACE.distributions), GROUPS, key_of) == []
