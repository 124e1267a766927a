"""What of an arm's settings has an effect: its key and its file's header keep only that."""

from dataclasses import replace
from typing import Any

from wavesweep.pruning.prune import METHODS, ArmSpec
from wavesweep.quantization.rate_distortion import WEIGHED_DEAD_ZONE
from wavesweep.settings.keys import differences
from wavesweep.settings.schema import RETRAININGS, QuantizeSettings, RetrainSettings, ThresholdSettings


def effective_threshold(spec: ArmSpec) -> ThresholdSettings:
    """The arm's threshold without what plays no part for its rule and method."""
    given, method = spec.threshold, METHODS[spec.method]
    number = {"percentile": "percentile", "energy": "energy", "absolute": "value"}.get(given.rule)
    return ThresholdSettings(
        rule=given.rule,
        scope=given.scope,
        shrinkage=given.shrinkage if method.score == "magnitude" else "hard",
        atom_norm=given.atom_norm and method.basis in ("wavelet", "shuffled"),
        allocation=given.allocation,
        **({} if number is None else {number: getattr(given, number)}),
    )


def retrainings_with(key: str, settings: RetrainSettings, quantizes: bool = True) -> tuple[str, ...]:
    """The kinds of retraining in which `retrain.<key>` plays a part; `quantizes`: they train the quantiser."""
    fixed = ("finetune", "iterative", "gradual", "rate")
    only = {
        "epochs": fixed,
        "schedule": fixed,
        "rounds": ("iterative", "rewind"),
        "ramp": ("gradual", "rate", *(["finetune", "iterative", "rewind"] if settings.regrow else [])),
        "rewind": ("rewind",),
        "rewind_epoch": ("rewind",),
        "quantize_epochs": ("finetune", "iterative", "gradual", "rewind") if quantizes else (),
        "step": ("rate",),
        "rate_weight": ("rate",),
        "group_weight": ("rate",),
        "freeze_epochs": ("rate",),
    }
    return only.get(key, RETRAININGS[1:])


def effective_retraining(settings: RetrainSettings, quantizes: bool = True) -> dict[str, Any]:
    """The settings of a retraining without what plays no part for its kind; `quantizes`: it trains the quantiser."""
    found = differences(settings)
    return {
        key: value
        for key, value in found.items()
        if key == "name" or settings.name in retrainings_with(key, settings, quantizes)
    }


def effective_quantization(settings: QuantizeSettings, has_bands: bool) -> QuantizeSettings:
    """The quantiser's settings without what plays no part; `has_bands`: some tensor has more than one subband."""
    uniform, unused = settings.name == "uniform", QuantizeSettings()
    rounds = uniform and settings.is_trainable  # otherwise bits are weighed, which begins with a zero bin of its own
    plays = {
        "step": uniform,
        "bits": settings.uses_bits,
        "dead_zone": rounds or (uniform and settings.dead_zone > WEIGHED_DEAD_ZONE),
        "per": uniform and settings.step is None and has_bands,
        "atom_norm": rounds and has_bands,
        "damping": settings.importance != "none",
        "images": settings.importance != "none",
        "coefficients": settings.name == "none",
        "other_bits": settings.other == "quantized",
    }
    return replace(settings, **{key: getattr(unused, key) for key, part in plays.items() if not part})


def has_bands(spec: ArmSpec) -> bool:
    """Whether the arm's basis has more than one subband for some tensor."""
    return METHODS[spec.method].basis in ("wavelet", "shuffled") and any(any(plan.levels) for plan in spec.plans)


def prunes_nothing(threshold: ThresholdSettings) -> bool:
    """Whether the rule keeps all coefficients, whatever they are, so that no other setting of it matters."""
    return threshold.rule == "percentile" and threshold.percentile == 0
