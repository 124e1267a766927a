"""What a search shows and writes: front, hypervolume, best trials."""

import csv
import io
import json

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState

from wavesweep.cli.tables import show_front
from wavesweep.runtime.metrics import primary_of
from wavesweep.settings.schema import ConstraintSettings, SearchSettings, Settings
from wavesweep.sweep.objectives import objectives_of
from wavesweep.sweep.search.limits import best_trials, remedies
from wavesweep.sweep.search.summary import Summary, front_json, history_csv, measures_of

NAMES = ("accuracy", "stored_bytes")
SPACE = {"wavelet": CategoricalDistribution(("haar", "db2")), "percentile": FloatDistribution(0, 100)}
BASELINE, DENSE = 0.95, 1000
NOTE = "dataset: validation is 10 % of the training images, on which model.checkpoint may have been trained"


def record_of(accuracy, size, sparsity):
    measured = {"accuracy": accuracy, "f1": accuracy - 0.01}
    arm = {
        "validation": measured,
        "test": {"accuracy": accuracy - 0.02},
        "stored_bytes": size,
        "dense_bytes": DENSE,
        "coefficient_sparsity": sparsity,
        "inference_ms": {"single": {"median": 0.5}},
        "macs": 10,
    }
    if size == 200:
        arm["drop"] = {"validation": {"low": 0.4, "high": 9.4}, "test": {"low": 2.5, "high": 9.4}}
    baseline = {"validation": {"accuracy": BASELINE}, "test": {"accuracy": BASELINE - 0.01}, "macs": 20}
    notes = ["fc1: not transformed", NOTE]
    return {"arms": [arm], "baseline": baseline, "seconds": {"total": 1.5}, "notes": notes}


# Accuracy, bytes, sparsity: 0, 1 and 3 are the front, 4 is 1 again, and 2 is dominated by 1.
MEASURED = [(0.95, 500, 0.5), (0.9, 200, 0.8), (0.85, 300, 0.7), (0.5, 100, 0.95), (0.9, 200, 0.8)]


@pytest.fixture
def study():
    study = optuna.create_study(directions=["maximize", "minimize"])
    for number, (accuracy, size, sparsity) in enumerate(MEASURED):
        measures = measures_of(record_of(accuracy, size, sparsity), objectives_of(NAMES))
        params = {"wavelet": "haar", "percentile": 100 * sparsity}
        attributes = {"key": f"k{number}", "measures": measures}
        trial = optuna.create_trial(
            params=params, distributions=SPACE, values=[accuracy, float(size)], user_attrs=attributes
        )
        study.add_trial(trial)
    return study


@pytest.fixture
def summary(study):
    return Summary("one", NAMES, objectives_of(NAMES), tuple(study.trials))


def test_the_front_has_each_point_once_the_most_accurate_first(summary):
    assert [trial.number for trial in summary.front] == [0, 1, 3]


def test_the_front_begins_with_the_best_in_the_first_objective_also_where_less_is_better(study):
    names = ("stored_bytes", "accuracy")
    turned = [optuna.trial.FrozenTrial(**{**_parts(trial), "values": trial.values[::-1]}) for trial in study.trials]
    front = Summary("one", names, objectives_of(names), tuple(turned)).front
    assert [trial.values for trial in front] == [[100.0, 0.5], [200.0, 0.9], [500.0, 0.95]]


def _parts(trial):
    return {
        "number": trial.number,
        "state": trial.state,
        "value": None,
        "datetime_start": None,
        "datetime_complete": None,
        "params": trial.params,
        "distributions": trial.distributions,
        "user_attrs": trial.user_attrs,
        "system_attrs": {},
        "intermediate_values": {},
        "trial_id": trial._trial_id,
    }


def test_the_hypervolume_is_the_area_up_to_a_network_of_no_accuracy_and_dense_size(summary):
    # By columns of size: 100 to 200 of 1000 bytes at 50 %, 200 to 500 at 90 %, 500 to 1000 at 95 %.
    assert summary.hypervolume == pytest.approx(0.1 * 0.5 + 0.3 * 0.9 + 0.5 * 0.95)
    assert summary.reference == [0.0, 1000.0]


def test_a_search_without_a_complete_trial_has_no_front(capsys):
    empty = Summary("one", NAMES, objectives_of(NAMES), ())
    assert empty.front == empty.reference == []
    assert empty.hypervolume == 0.0
    best = best_trials((), ConstraintSettings())
    assert best[0].trial is None
    show_front(empty, best, list(SPACE))
    assert capsys.readouterr().out == "no trial is complete yet\n"
    assert json.loads(json.dumps(front_json(empty, best), allow_nan=False))["front"] == []


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({}, [0]),  # as with max_drop=1
        ({"max_drop": 0}, [0]),
        ({"max_drop": 5}, [1]),  # 95 - 90 is 5.000000000000004 in floats
        ({"max_drop": 4.9}, [0]),
        ({"max_drop": 100}, [3]),
        ({"max_bytes": 300}, [1]),
        ({"max_bytes": 99}, [None]),
        ({"min_sparsity": 70}, [1]),
        ({"min_sparsity": 95}, [3]),
        ({"min_sparsity": 96}, [None]),
        ({"max_drop": 11, "max_bytes": 1000, "min_sparsity": 60}, [1, 0, 1, 1]),
        ({"max_drop": 1, "max_bytes": 200}, [0, 1, None]),
        ({"max_drop": 100, "prefer": "accurate"}, [0]),
        ({"max_bytes": 300, "prefer": "small"}, [3]),
        ({"max_drop": 11, "max_bytes": 300, "prefer": "accurate"}, [0, 1, 1]),
    ],
)
def test_best_trials_under_each_constraint_and_under_all(summary, limits, expected):
    found = best_trials(summary.trials, ConstraintSettings(**limits))
    assert [one.trial and one.trial.number for one in found] == expected


def test_what_is_printed(summary, capsys):
    limits = ConstraintSettings(max_drop=5, max_bytes=99)
    show_front(summary, best_trials(summary.trials, limits), list(SPACE))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Pareto front of one: 3 of 5 complete trials"
    assert lines[1].split() == ["trial", "wavelet", "percentile", "validation", "%", "bytes", "test", "%"]
    assert [line.split() for line in lines[2:5]] == [
        ["0", "haar", "50", "95.00", "500", "93.00"],
        ["1", "haar", "80", "90.00", "200", "88.00"],
        ["3", "haar", "95", "50.00", "100", "48.00"],
    ]
    assert lines[5] == "hypervolume 0.7950 (reference point: accuracy 0.00, stored_bytes 1,000)"
    lost = "at most 5 points of validation accuracy lost"
    nearest = [
        "trial 3, 100 bytes, validation 50.00 % (45.00 points lost), test 48.00 % (46.00 points lost): 1 bytes too many"
    ]
    found = (
        "validation 90.00 % (5.00 points lost, 0.4 to 9.4 at 95 %), test 88.00 % (6.00 points lost, 2.5 to 9.4 at 95 %)"
    )
    nearest.append(f"trial 1, 200 bytes, {found}: 101 bytes too many")
    assert lines[6:] == [
        (
            f"{lost}: smallest file is trial 1, 200 bytes, validation 90.00 % (5.00 points lost, 0.4 to 9.4 at 95 %), "
            "test 88.00 % (6.00 points lost, 2.5 to 9.4 at 95 %)"
        ),
        f"at most 99 bytes: no trial satisfies it; nearest is {nearest[0]}",
        f"{lost}, at most 99 bytes: no trial satisfies it; nearest is {nearest[1]}",
        f"note: {NOTE}",
    ]


def test_a_study_from_before_there_were_intervals_is_printed(study, capsys):
    for trial in (trials := study.trials):
        for name in ("drop_interval", "test_drop", "test_drop_interval", "notes"):
            del trial.user_attrs["measures"][name]
    summary = Summary("old", NAMES, objectives_of(NAMES), tuple(trials))
    best = best_trials(summary.trials, ConstraintSettings(max_drop=5))
    show_front(summary, best, list(SPACE))
    assert capsys.readouterr().out.endswith("validation 90.00 % (5.00 points lost), test 88.00 %\n")
    assert front_json(summary, best)["front"][0]["test_drop"] is None


def test_front_json(summary):
    content = json.loads(json.dumps(front_json(summary, best_trials(summary.trials, ConstraintSettings(max_bytes=99)))))
    assert content["objectives"] == [
        {"name": "accuracy", "direction": "maximize"},
        {"name": "stored_bytes", "direction": "minimize"},
    ]
    assert content["complete_trials"] == 5
    assert content["hypervolume"] == pytest.approx(0.795)
    assert [(row["number"], row["key"], row["values"]) for row in content["front"]] == [
        (0, "k0", [0.95, 500.0]),
        (1, "k1", [0.9, 200.0]),
        (3, "k3", [0.5, 100.0]),
    ]
    assert content["front"][1]["params"] == {"wavelet": "haar", "percentile": 80.0}
    assert content["front"][1]["test_accuracy"] == pytest.approx(0.88)
    assert content["front"][1]["test_drop"] == pytest.approx(6)
    assert content["front"][1]["drop_interval"] == [0.4, 9.4]
    assert content["front"][0]["drop_interval"] is None
    (best,) = content["best"]
    assert best.pop("nearest")["number"] == 3
    assert best == {"constraint": "at most 99 bytes", "wanted": "highest validation accuracy", "trial": None}


def test_what_to_try_where_no_trial_satisfies_the_constraints():
    one_shot = Settings(search=SearchSettings(n_trials=40))
    more, retraining, _ = remedies(one_shot, ["level"])
    assert more == "more trials (search.n_trials=80 continues)"
    assert retraining.startswith("retraining (retrain=choice(none,rate)")
    assert remedies(one_shot, ["level", "retrain"])[1].startswith("longer retraining (retrain.epochs=")


def test_history_has_a_row_per_trial_of_every_kind(study):
    notes = {"error": "diverged, badly", "crash": "its process ended", "duplicate_of": "1"}
    for name, text in notes.items():
        trial = study.ask(SPACE)
        trial.set_user_attr(name, text)
        study.tell(trial, state=TrialState.FAIL)
    trial = study.ask(SPACE)
    trial.set_user_attr("stopped_early", "weak")
    study.tell(trial, state=TrialState.PRUNED)
    study.ask(SPACE)
    study.enqueue_trial({"wavelet": "haar", "percentile": 1.0})
    known = {**study.trials[0].user_attrs, "warm_start": True, "cached": True}
    params = {"wavelet": "db2", "percentile": 2.0}
    study.add_trial(optuna.create_trial(params=params, distributions=SPACE, values=[0.1, 900.0], user_attrs=known))
    rows = list(csv.DictReader(io.StringIO(history_csv(study.trials, NAMES).decode())))
    assert [int(row["number"]) for row in rows] == list(range(12))
    assert [row["state"] for row in rows] == [
        *["complete"] * 5,
        *["fail"] * 3,
        "pruned",
        "running",
        "waiting",
        "warm_start",
    ]
    assert [row["reason"] for row in rows[5:9]] == [*notes.values(), "weak"]
    assert [(float(row["accuracy"]), float(row["stored_bytes"])) for row in rows[:5]] == [
        (accuracy, size) for accuracy, size, _ in MEASURED
    ]
    assert all(row["accuracy"] == "" for row in rows[5:11])
    assert json.loads(rows[11]["params"]) == params
    assert rows[11]["cached"] == "True"


def of_bits(bits, size):
    """The record of a language model that has so many bits per token, where its baseline has two."""
    part = {"bits_per_token": bits}
    arm = {
        "validation": part,
        "test": part,
        "stored_bytes": size,
        "dense_bytes": DENSE,
        "coefficient_sparsity": 0.5,
        "inference_ms": {"single": {"median": 0.5}},
    }
    task = {"name": "language_model", "primary": "bits_per_token", "unit": "bits", "direction": "lower"}
    baseline = {name: {"bits_per_token": 2.0} for name in ("validation", "test")}
    return {"task": task, "arms": [arm], "baseline": baseline, "seconds": {"total": 1.5}, "notes": []}


@pytest.fixture
def language():
    metric = primary_of(of_bits(2.0, 1))
    objectives = objectives_of(NAMES, metric)
    study = optuna.create_study(directions=[one.direction for one in objectives])
    for number, (bits, size) in enumerate([(2.1, 500), (2.2, 200), (3.0, 100), (2.5, 600)]):
        record = of_bits(bits, size)
        attributes = {"key": f"k{number}", "measures": measures_of(record, objectives)}
        values = [one.value(record) for one in objectives]
        study.add_trial(optuna.create_trial(values=values, user_attrs=attributes))
    return Summary("one", NAMES, objectives, tuple(study.trials))


def test_a_search_of_another_task_speaks_of_its_metric_and_direction(language, capsys):
    assert [one.maximize for one in language.objectives] == [False, False]
    assert [trial.number for trial in language.front] == [0, 1, 2]  # of fewer bits first
    assert language.reference == [4.0, 1000.0]
    found = best_trials(language.trials, ConstraintSettings(max_drop=0.25))
    assert (found[0].trial.number, found[0].constraint) == (1, "at most 0.25 bits of validation bits_per_token lost")
    found = best_trials(language.trials, ConstraintSettings(max_drop=6, max_drop_in="percent"))
    assert (found[0].trial.number, found[0].constraint) == (0, "at most 6 % of validation bits_per_token lost")
    none = best_trials(language.trials, ConstraintSettings(max_drop=0.01))
    assert (none[0].trial, none[0].nearest.number, none[0].beyond) == (None, 0, "0.09 bits lost too many")
    largest = best_trials(language.trials, ConstraintSettings(max_bytes=300))[0]
    assert (largest.wanted, largest.trial.number) == ("best validation bits_per_token", 1)
    show_front(language, found, [])
    lines = capsys.readouterr().out.splitlines()
    assert "validation bits_per_token bits" in lines[1]
    quality = "bits_per_token 2.1 bits (0.1 bits lost)"
    assert lines[-1].endswith(f", 500 bytes, validation {quality}, test {quality}")
    written = json.loads(json.dumps(front_json(language, found)))
    assert written["task"]["direction"] == "lower"
    assert written["front"][0]["bits_per_token"] == 2.1


def test_without_a_constraint_a_percent_of_a_metric_without_points_may_be_lost(language):
    (best,) = best_trials(language.trials, ConstraintSettings())
    assert (best.constraint, best.trial) == ("at most 1 % of validation bits_per_token lost", None)
