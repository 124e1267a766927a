"""What a trial of a search is given before its sampler chooses the rest."""

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution

from wavesweep.settings.schema import ConstraintSettings, SearchSettings, StageSettings
from wavesweep.sweep.search.conditions import Tree
from wavesweep.sweep.search.stages import Stages

SPACE = {
    "retrain": CategoricalDistribution(("none", "rate")),
    "method": CategoricalDistribution(("magnitude", "dct")),
    "quantize.step": FloatDistribution(0.01, 1.0, log=True),
}
START = [{"method": "dct", "level": 3}, {"retrain": "rate", "quantize.step": 0.1}, {"quantize.step": 5.0}]


def stages(wanted=10, start=(), share=0.5, **limits):
    options = SearchSettings(
        start=list(start),
        first_stage=StageSettings(share=share, values={"retrain": "none", "level": 1}),
        constraints=ConstraintSettings(**limits),
    )
    return Stages.of(Tree(SPACE), options, wanted)


def done(drop, size, number=0, **params):
    params = {"retrain": "none", "method": "magnitude", "quantize.step": 0.1} | {
        key.replace("step", "quantize.step"): value for key, value in params.items()
    }
    measures = {"accuracy": 0.9 - drop / 100, "drop": drop, "stored_bytes": size, "sparsity": 0.0}
    trial = optuna.trial.create_trial(
        params=params, distributions=SPACE, values=[0.9 - drop / 100, size], user_attrs={"measures": measures}
    )
    trial.number = number
    return trial


def test_points_to_begin_with_come_first_and_those_that_retrain_when_their_stage_begins():
    found = stages(10, START)
    trials = []

    def next_given(asked):
        given = found.given(trials, asked)
        trials.append(optuna.trial.create_trial(state=optuna.trial.TrialState.RUNNING, user_attrs=given.notes))
        return given.params

    assert next_given(0) == {"retrain": "none", "method": "dct"}  # level lies not in the space
    assert next_given(1) == {"retrain": "none"}  # nor does a step of 5
    assert next_given(2) == {"retrain": "none"}
    assert next_given(5) == {"retrain": "rate", "quantize.step": 0.1}
    assert next_given(6) == {}


@pytest.mark.parametrize(("retrain", "length"), [(("none", "rate"), 5), (("none",), 0), (("rate", "finetune"), 0)])
def test_there_is_a_first_stage_only_where_its_values_are_some_of_several(retrain, length):
    tree = Tree({**SPACE, "retrain": CategoricalDistribution(retrain)})
    options = SearchSettings(first_stage=StageSettings(values={"retrain": "none"}))
    assert Stages.of(tree, options, 10).length == length


def test_every_second_trial_lies_between_the_best_and_what_exceeds_the_limits():
    found = stages(share=0.0, max_drop=1)
    trials = [done(0.5, 500, 0, step=0.1), done(8.0, 200, 1, step=0.4), done(0.0, 900, 2, step=0.05)]
    assert found.given(trials, 4).params == {}
    assert found.given(trials, 3).params == {"retrain": "none", "method": "magnitude", "quantize.step": 0.2}
    assert found.given(trials, 3).notes == {"refines": 0}


def test_the_sampler_is_left_alone_on_request():
    options = SearchSettings(refine=False)
    assert Stages.of(Tree(SPACE), options, 10).given([done(0.5, 500, step=0.1)], 1).params == {}


def test_where_nothing_lies_beyond_the_best_the_number_grows():
    params = stages(share=0.0).given([done(0.5, 500, step=0.1)], 1).params
    assert params["quantize.step"] == pytest.approx(0.16)


def test_where_the_number_is_found_another_choice_is_tried():
    trials = [done(0.5, 500, 0, step=0.1), done(2.0, 490, 1, step=0.102), done(0.4, 900, 2, step=0.09)]
    params = stages(share=0.0, max_drop=1).given(trials, 3).params
    assert params["quantize.step"] == 0.1
    assert (params["method"], params["retrain"]) in {("dct", "none"), ("magnitude", "rate")}


def test_the_first_stage_refines_within_itself():
    trials = [done(0.5, 500, 0, step=0.1), done(2.0, 490, 1, step=0.102), done(0.4, 900, 2, step=0.09)]
    trials += [done(0.0, 100, 3, retrain="rate")]
    assert stages(10, max_drop=1).given(trials, 3).params == {"retrain": "none", "method": "dct", "quantize.step": 0.1}


def test_a_limit_of_bytes_is_approached_from_below():
    trials = [done(0.5, 500, 0, step=0.1), done(0.1, 900, 1, step=0.025)]
    params = stages(share=0.0, max_bytes=600).given(trials, 1).params
    assert params["quantize.step"] == pytest.approx(0.16)  # above lies nothing yet
    trials += [done(3.0, 400, 2, step=0.16)]
    assert stages(share=0.0, max_bytes=600).given(trials, 1).params["quantize.step"] == pytest.approx(0.05)
