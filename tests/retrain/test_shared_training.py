"""Arms that differ only in how they are quantised and coded: the epochs before that are trained once."""

from dataclasses import replace

import pytest
from retrainings import KINDS, LOOSE, RDO, arm_of, file_of, settings_of, untimed

from wavesweep import arms
from wavesweep.compression.importance import layer_importance
from wavesweep.config import MethodSettings, PathsSettings, QuantizeSettings, RetrainSettings, ThresholdSettings
from wavesweep.errors import BusyError
from wavesweep.retrain.checkpoint import TRAINED, read_checkpoint
from wavesweep.retrain.run import Run
from wavesweep.store.records import locked
from wavesweep.trial import run_trial

QUANTIZERS = [
    QuantizeSettings(bits=3),
    QuantizeSettings("kmeans", bits=2, other="quantized"),
]
SHARING = {
    **dict.fromkeys(("finetune", "iterative", "gradual", "gradual, regrown", "rewound rate"), QUANTIZERS),
    "gradual without quantiser": [*QUANTIZERS, QuantizeSettings("none")],
    "finetune, rate-distortion": [
        RDO["quantize"],
        replace(RDO["quantize"], step=0.2),
        replace(RDO["quantize"], step=1),
    ],
}


@pytest.mark.parametrize("name", SHARING)
def test_arms_that_differ_in_how_they_are_quantised_are_retrained_once_to_the_same_bytes(name, tmp_path, monkeypatch):
    def train(run, number, *arguments, original=Run.train):
        trained.append(run.epochs[number].quantized)
        return original(run, number, *arguments)

    monkeypatch.setattr(Run, "train", train)
    for number, quantize in enumerate(SHARING[name]):
        # In one place all arms, in the other each by itself.
        trained = []
        settings = {**{**KINDS, **LOOSE}[name], "quantize": quantize}
        shared = run_trial(settings_of(tmp_path / "shared", **settings))
        epochs = len(arm_of(shared)["retraining"]["curve"])
        quantized = sum(row["quantized"] for row in arm_of(shared)["retraining"]["curve"])
        assert trained.count(True) == quantized
        assert trained.count(False) == (0 if number else epochs - quantized)
        alone = run_trial(settings_of(tmp_path / f"alone{number}", **settings))
        assert (
            file_of(shared, tmp_path / "shared").read_bytes()
            == file_of(alone, tmp_path / f"alone{number}").read_bytes()
        )
        assert untimed(arm_of(shared)) == untimed(arm_of(alone))


def test_the_importances_of_a_shared_network_are_estimated_once(tmp_path, monkeypatch):
    monkeypatch.setattr(arms, "_importances", {})
    estimated = []
    monkeypatch.setattr(
        arms, "layer_importance", lambda *arguments: estimated.append(arguments) or layer_importance(*arguments)
    )
    for quantize in SHARING["finetune, rate-distortion"]:
        run_trial(settings_of(tmp_path, **{**LOOSE["finetune, rate-distortion"], "quantize": quantize}))
    assert len(estimated) == 2  # its own, and those of its one-shot twin


@pytest.mark.parametrize(
    "changes",
    [
        {"retrain": RetrainSettings("finetune", epochs=3, quantize_epochs=2)},
        {"retrain": RetrainSettings("finetune", epochs=4, quantize_epochs=1)},
        {"retrain": RetrainSettings("finetune", epochs=3, quantize_epochs=1, learning_rate=0.001)},
        {"threshold": ThresholdSettings(percentile=85.0)},
        {"method": MethodSettings("dct")},
        {"quantize": RDO["quantize"]},
    ],
)
def test_what_changes_the_shared_epochs_is_not_shared(changes, tmp_path, monkeypatch):
    settings = settings_of(tmp_path, **KINDS["finetune"])
    run_trial(settings)
    trained = []
    begin = Run.begin
    monkeypatch.setattr(Run, "begin", lambda run, number: trained.append(number) or begin(run, number))
    run_trial(replace(settings, **changes))
    assert trained[0] == 0


def test_a_damaged_shared_retraining_is_made_again(tmp_path):
    settings = settings_of(tmp_path / "damaged", **KINDS["finetune"])
    run_trial(settings)
    (path,) = tmp_path.glob("damaged/retrained/*/" + TRAINED)
    path.write_bytes(path.read_bytes()[:100])
    changed = replace(settings, quantize=QuantizeSettings(bits=3))
    record = run_trial(changed)
    expected = run_trial(replace(changed, paths=PathsSettings(outputs=str(tmp_path / "whole"))))
    assert file_of(record, tmp_path / "damaged").read_bytes() == file_of(expected, tmp_path / "whole").read_bytes()
    assert read_checkpoint(path) is not None


def test_a_retraining_that_another_process_shares_is_waited_for_or_left(tmp_path):
    settings = replace(settings_of(tmp_path, **KINDS["finetune"]), on_busy="skip")
    record = run_trial(settings)
    (path,) = tmp_path.glob("retrained/*/" + TRAINED)
    path.unlink()
    changed = replace(settings, quantize=QuantizeSettings(bits=3))
    with locked(path.parent), pytest.raises(BusyError):  # as another process does while it trains
        run_trial(changed)
    assert not list(tmp_path.glob("runs/*/failure.json"))
    assert arm_of(run_trial(changed))["kept_coefficients"] == arm_of(record)["kept_coefficients"]
