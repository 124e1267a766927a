"""Arms that differ only in how they are quantised and coded: the epochs before that are trained once."""

from dataclasses import replace

import pytest
from retrainings import ALL, KINDS, LOOSE, RDO, arm_of, file_of, settings_of, untimed

from wavesweep.compression import network
from wavesweep.errors import BusyError
from wavesweep.experiment import arms
from wavesweep.experiment.trial import run_trial
from wavesweep.quantization.importance import layer_importance
from wavesweep.runtime.records import locked
from wavesweep.settings.schema import (
    MethodSettings,
    PathsSettings,
    QuantizeSettings,
    RetrainSettings,
    ThresholdSettings,
)
from wavesweep.training.checkpoint import TRAINED, read_checkpoint
from wavesweep.training.loop import TrainingLoop
from wavesweep.training.masked import Masked

QUANTIZERS = [QuantizeSettings(bits=3), QuantizeSettings("kmeans", bits=2, other="quantized")]
FINETUNE = RetrainSettings("finetune", epochs=3)
# A retraining, and the quantisers that follow it.
SHARING = {
    **{
        name: (KINDS[name], QUANTIZERS)
        for name in ("finetune", "iterative", "gradual, regrown", "rewound learning rate")
    },
    "without quantiser": (KINDS["gradual without quantiser"], [*QUANTIZERS, QuantizeSettings("none")]),
    "rate-distortion": (
        LOOSE["finetune, rate-distortion"],
        [RDO["quantize"], replace(RDO["quantize"], step=0.2), replace(RDO["quantize"], step=1)],
    ),
    # A trained quantiser takes the last two epochs, so these do not share.
    "first trained, then rate-distortion": ({"retrain": FINETUNE}, [QuantizeSettings(bits=3), RDO["quantize"]]),
    "first rate-distortion, then trained": ({"retrain": FINETUNE}, [RDO["quantize"], QuantizeSettings(bits=3)]),
    "soft, distilled": (
        {
            "retrain": replace(FINETUNE, distillation=0.5),
            "threshold": ThresholdSettings(percentile=85, shrinkage="soft"),
        },
        QUANTIZERS,
    ),
    "rewound weights": ({"retrain": RetrainSettings("rewind", rounds=2, rewind="weights")}, QUANTIZERS),
    "units removed": ({"retrain": FINETUNE, "method": MethodSettings("unit"), "shrink": True}, QUANTIZERS),
}


def few_by_default(name):
    return name if name in ("gradual, regrown", "rate-distortion") else pytest.param(name, marks=pytest.mark.slow)


@pytest.mark.parametrize("name", [few_by_default(name) for name in SHARING])
def test_arms_that_differ_in_how_they_are_quantised_are_retrained_once_to_the_same_bytes(name, tmp_path, monkeypatch):
    def train_epoch(loop, epoch, *arguments, original=TrainingLoop.train_epoch):
        if isinstance(loop.strategy, Masked):  # and not that of the baseline
            trained.append(loop.strategy.timeline[epoch].quantized)
        return original(loop, epoch, *arguments)

    monkeypatch.setattr(TrainingLoop, "train_epoch", train_epoch)
    retraining, quantizers = SHARING[name]
    for number, quantize in enumerate(quantizers):
        trained = []
        settings = {**retraining, "quantize": quantize}
        shared = run_trial(settings_of(tmp_path / "shared", **settings))
        curve = arm_of(shared)["retraining"]["curve"]
        quantized = sum(row["quantized"] for row in curve)
        assert trained.count(True) == quantized
        assert trained.count(False) == (0 if number and ", then" not in name else len(curve) - quantized)
        with monkeypatch.context() as patch:
            patch.setattr(arms, "shared_key", lambda *_: None)
            alone = run_trial(settings_of(tmp_path / "alone" / str(number), **settings))
        assert untimed(arm_of(shared)) == untimed(arm_of(alone))
        files = [file_of(shared, tmp_path / "shared"), file_of(alone, tmp_path / "alone" / str(number))]
        assert files[0].read_bytes() == files[1].read_bytes()


def test_arms_of_equal_bytes_share_a_retraining_and_have_steps_of_their_own(tmp_path):
    settings = settings_of(
        tmp_path,
        compare=("magnitude",),
        compare_match="bytes",
        threshold=ALL,
        **LOOSE["finetune, rate-distortion"],
    )
    main, other = run_trial(settings)["arms"]
    assert other["step_scale"] != 1
    assert other["stored_bytes"] == pytest.approx(main["stored_bytes"], rel=0.01)
    assert len(list(tmp_path.glob("retrained/*/" + TRAINED))) == 2


@pytest.mark.integration
def test_the_importances_of_a_shared_network_are_estimated_once(tmp_path, monkeypatch):
    monkeypatch.setattr(network, "_importances", {})
    estimated = []
    monkeypatch.setattr(
        network, "layer_importance", lambda *arguments: estimated.append(arguments) or layer_importance(*arguments)
    )
    retraining, quantizers = SHARING["rate-distortion"]
    for percentile in (80, 85):
        for quantize in quantizers:
            threshold = ThresholdSettings(percentile=percentile)
            run_trial(settings_of(tmp_path, **{**retraining, "quantize": quantize, "threshold": threshold}))
    # Those of two retrained networks, and of the one before pruning for the arms without retraining.
    assert len(estimated) == 3


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
    original = Masked.begin_epoch
    monkeypatch.setattr(
        Masked, "begin_epoch", lambda strategy, epoch: trained.append(epoch) or original(strategy, epoch)
    )
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
    (log,) = (path for path in tmp_path.glob("runs/*/trial.log") if "comes later" in path.read_text())
    assert "Traceback" not in log.read_text()
    assert arm_of(run_trial(changed))["kept_coefficients"] == arm_of(record)["kept_coefficients"]
