"""Keys of arms: what can change an arm's result, and nothing else."""

from typing import Any

import pywt

from wavesweep.compression.compressor import CompressionSettings
from wavesweep.pruning.plan import TensorPlan
from wavesweep.pruning.prune import ArmSpec, has_bands
from wavesweep.settings import registry
from wavesweep.settings.effective import (
    effective_quantization,
    effective_retraining,
    effective_threshold,
)
from wavesweep.settings.keys import KEY_VERSION, differences, hash_of
from wavesweep.settings.registry import Threshold


def arm_key(spec: ArmSpec, baseline_key: str, settings: CompressionSettings) -> str:
    """Hash of what can change the arm's result: effective levels and filters, not requested ones or names."""
    return hash_of(_content(spec, baseline_key, settings))


def shared_key(spec: ArmSpec, baseline_key: str, settings: CompressionSettings) -> str | None:
    """Hash of what decides the epochs of a retraining that arms share which differ only in how they are stored.

    None where they share none.
    """
    if settings.retrain.name in ("none", "rate"):
        return None
    content = _content(spec, baseline_key, settings)
    for name in ("quantize", "codec", "images_seed", "step_scale", "shrink"):
        content.pop(name, None)
    # How many epochs are left for a quantiser that is trained.
    content["retrain"]["quantize_epochs"] = settings.retrain.quantize_epochs if settings.quantize.is_trainable else 0
    for tensor in content["tensors"]:
        del tensor["bits"]
    return hash_of({"retrained": content})


def _content(spec: ArmSpec, baseline_key: str, settings: CompressionSettings) -> dict[str, Any]:
    method = registry.row(registry.Method, spec.method)
    basis = registry.row(registry.Basis, method.basis)
    threshold = effective_threshold(spec.threshold, spec.method, [plan.percentile for plan in spec.plans])
    seeded = basis.is_seeded or registry.row(registry.Score, method.score).is_seeded
    rule: dict[str, Any]
    if spec.kept is None:
        rule = {"rule": spec.threshold.rule, "number": rule_number(spec), **_allocation(spec)}
    else:
        rule = {"kept": list(spec.kept)}
    return {
        "version": KEY_VERSION,
        "baseline": baseline_key,
        "method": {"basis": method.basis, "score": method.score},
        "tensors": [_plan_content(plan, method.basis) for plan in spec.plans],
        "boundary": spec.boundary if basis.has_levels else None,
        "seed": spec.seed if seeded else None,
        "scope": spec.threshold.scope,
        "quantize": differences(effective_quantization(settings.quantize, has_bands(spec))),
        "codec": settings.codec.name,
        "step_scale": spec.step_scale,
        "images_seed": settings.seed if settings.quantize.importance != "none" else None,
        **(
            {
                "retrain": effective_retraining(settings.retrain, settings.quantize),
                "order_seed": settings.seed,
            }
            if settings.retrain.name != "none"
            else {}
        ),
        "shrinkage": threshold.shrinkage,
        "atom_norm": threshold.atom_norm,
        **rule,
        "shrink": settings.shrink,
    }


def _allocation(spec: ArmSpec) -> dict[str, Any]:
    """What shares the percentile out."""
    curves = {"curves": spec.curves} if spec.threshold.allocation == "sensitivity" else {}
    return {"allocation": spec.threshold.allocation, **curves}


def rule_number(spec: ArmSpec) -> float | None:
    """The number that goes with the threshold rule, None for a rule without one."""
    name = registry.row(Threshold, spec.threshold.rule).number
    number: float | None = getattr(spec.threshold, name) if name else None
    return number


def _plan_content(plan: TensorPlan, basis: str) -> dict[str, Any]:
    # The view counts for every basis: the coder's contexts are its rows and columns.
    content: dict[str, Any] = {
        "name": plan.name,
        "percentile": plan.percentile,
        "bits": plan.bits,
        "view": plan.view,
    }
    if basis == "identity":
        return content
    content["axes"] = plan.axes
    if registry.row(registry.Basis, basis).has_levels:
        # db1, haar and bior1.1 are one wavelet; what counts are the filters.
        content |= {
            "levels": plan.levels,
            "filters": pywt.Wavelet(plan.wavelet).filter_bank if any(plan.levels) else None,
        }
    return content
