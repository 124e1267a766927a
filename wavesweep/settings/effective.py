"""Which settings have an effect: the one place that knows.

Notes of trials, keys of compressed variants, headers of files and labels of charts all ask here. What a setting needs
follows from the rows of the registry (`uses`) and, across settings, from the conditions below.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any, TypeVar

from wavesweep.settings import registry
from wavesweep.settings.keys import default_of, differences
from wavesweep.settings.registry import Basis, DataSet, Method, Quantizer, Retraining, Score, Threshold
from wavesweep.settings.schema import (
    LayerOverride,
    QuantizeSettings,
    RetrainSettings,
    Settings,
    ThresholdSettings,
    fields_by_key,
)

# How notes say of a setting that was given that it changes nothing.
NO_EFFECT = "has no effect"
# And of a pattern of names.
MATCHES_NO_TENSOR = "matches no tensor"
# And of tensors that a layer computes, and of those that are stored number by number.
COMPUTED_BY, NOT_CODED = "computed by", "are not coded"
# How those begin that are about data and checkpoint, and not about one trial.
ABOUT_INPUTS = ("dataset", "model.checkpoint:")
# Least zero bin, in steps, of the symbols by which rate-distortion optimisation begins.
WEIGHED_DEAD_ZONE = 1.3
# From a dotted key to the setting's value.
Get = Callable[[str], Any]
Group = TypeVar("Group", ThresholdSettings, RetrainSettings, QuantizeSettings)
_KINDS: Mapping[str, type[registry.Row]] = {kind.group: kind for kind in (Threshold, Retraining, Quantizer, DataSet)}


@dataclass(frozen=True)
class Condition:
    """A condition across settings; `holds` is given the settings, and whether some tensor has several bands."""

    holds: Callable[[Get, bool], bool]
    needs: str


def needs(get: Get, key: str, has_bands: bool | None = None) -> str | None:
    """What the setting `key` needs to have an effect; None if it has one.

    Args:
        get: gives the value of a setting by its dotted key.
        key: of the setting.
        has_bands: whether the coefficients of some tensor lie in several subbands; by default, whether any method of
            the trial has levels.
    """
    if has_bands is None:
        has_bands = _has_levels(get)
    group, _, name = key.partition(".")
    kind = _KINDS.get(group)
    if kind is not None:
        users = [row.name for row in registry.rows(kind).values() if name in row.uses]
        if users and get(f"{group}.{kind.names}") not in users:
            every = [row.name for row in registry.rows(kind).values() if row.uses]
            if group == "retrain" and users == every:
                return "a retrain that is not none"
            return f"{group}={_either(users)}"
    for condition in _conditions().get(key, ()):
        if not condition.holds(get, has_bands):
            return condition.needs
    return None


def is_worth_varying(get: Get, key: str) -> bool:
    """Whether the setting `key` is a dimension of a search among settings as these.

    It has an effect; and what bases take (`Basis.uses`) is used by the basis of some method of the trial: a layout,
    say, whose axes nothing transforms changes no more than the contexts of the coder.
    """
    takers = [basis.name for basis in registry.rows(Basis).values() if key in basis.uses]
    used = {registry.row(Method, name).basis for name in _methods(get)} if takers else set()
    return needs(get, key) is None and (not takers or not used.isdisjoint(takers))


def unused_notes(settings: Settings) -> list[str]:
    """A line for each setting that differs from its default and changes nothing, with what it needs.

    Settings of where and how a trial runs are not looked at: those that do not fit are refused.
    """
    get = getter(settings)
    found = [
        (key, get(key), need)
        for key, entry in fields_by_key().items()
        if get(key) != default_of(entry) and not _comes_along(get, key) and (need := needs(get, key))
    ]
    found += _of_overrides(settings, get)
    if "compare" in differences(settings) and settings.method.name in settings.compare:
        found.append(("compare", settings.method.name, "another method than the main one"))
    return [f"{key}: {value!r} {NO_EFFECT}; it needs {need}" for key, value, need in found]


def effective_threshold(
    threshold: ThresholdSettings, method: str, percentiles: Sequence[float | None]
) -> ThresholdSettings:
    """The threshold of one method without what has no effect; `percentiles` are those of single tensors."""
    overrides = [LayerOverride(percentile=percentile) for percentile in percentiles]
    get = _getter({"threshold": threshold, "method.name": method, "compare": [], "layers.overrides": overrides})
    # What a table of sensitivities says is a part of the result; where it lies is not.
    return replace(_effective(threshold, "threshold", get, None), sensitivity=None)


def effective_retraining(retrain: RetrainSettings, quantize: QuantizeSettings) -> dict[str, Any]:
    """The settings of a retraining that have an effect and differ from their defaults, and its name."""
    get = _getter({"retrain": retrain, "quantize": quantize})
    return {"name": retrain.name, **differences(_effective(retrain, "retrain", get, False))}


def effective_quantization(quantize: QuantizeSettings, has_bands: bool) -> QuantizeSettings:
    """The quantiser's settings without what has no effect; `has_bands`: some tensor has more than one subband."""
    return _effective(quantize, "quantize", _getter({"quantize": quantize}), has_bands)


def getter(settings: Settings) -> Get:
    """From dotted keys to the values of `settings`."""
    return _getter({entry.name: getattr(settings, entry.name) for entry in fields(settings)})


def uses_basis_with_levels(method: str) -> bool:
    """Whether a method's basis splits signals into levels, so that `wavelet` and `level` have an effect."""
    return registry.row(Basis, registry.row(Method, method).basis).has_levels


def methods_with_levels() -> tuple[str, ...]:
    """The methods in which `wavelet` and `level` have an effect."""
    return tuple(name for name in registry.rows(Method) if uses_basis_with_levels(name))


def _getter(values: Mapping[str, Any]) -> Get:
    def get(key: str) -> Any:
        if key in values:
            return values[key]
        first, _, rest = key.partition(".")
        value = values[first]
        for name in rest.split("."):
            value = getattr(value, name)
        return value

    return get


def _effective(group: Group, name: str, get: Get, has_bands: bool | None) -> Group:
    unused = {entry.name: default_of(entry) for entry in fields(group) if needs(get, f"{name}.{entry.name}", has_bands)}
    return replace(group, **unused)


def _methods(get: Get) -> list[str]:
    return [get("method.name"), *get("compare")]


def _has_levels(get: Get) -> bool:
    return any(uses_basis_with_levels(name) for name in _methods(get))


def _ranks_by_magnitude(get: Get) -> bool:
    return any(registry.row(Score, registry.row(Method, name).score).is_magnitude for name in _methods(get))


def _prunes(get: Get) -> bool:
    """Not where the rule keeps all coefficients, whatever they are."""
    keeps_all = get("threshold.rule") == "percentile" and get("threshold.percentile") == 0
    return not keeps_all or any(one.percentile is not None for one in get("layers.overrides"))


def _is_trainable(get: Get) -> bool:
    return not get("quantize.rate_weight") and get("quantize.importance") == "none"


def _comes_along(get: Get, key: str) -> bool:
    """`quantize=rdo` brings its images along, also where importance is taken from it."""
    return key == "quantize.images" and not _is_trainable(get)


def _of_overrides(settings: Settings, get: Get) -> Iterator[tuple[str, Any, str]]:
    """The settings of single tensors, which need what those of all tensors do."""
    of_all = {"wavelet": "wavelet", "level": "level", "percentile": "threshold.percentile", "bits": "quantize.bits"}
    for override in settings.layers.overrides:
        for name, key in of_all.items():
            value = getattr(override, name)
            if value is not None and (need := needs(get, key)):
                yield f"layers.overrides[match={override.match}].{name}", value, need


def _either(names: Sequence[str]) -> str:
    return " or ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


@cache
def _conditions() -> Mapping[str, Sequence[Condition]]:
    """The conditions of each setting, in the order in which they are named; plugins may add methods to their texts."""
    levels = f"method={_either(methods_with_levels())}"
    has_levels = Condition(lambda get, has_bands: has_bands, levels)
    prunes = Condition(lambda get, _: _prunes(get), "threshold.percentile above 0")
    no_weighing = "quantize=uniform or kmeans, not rdo"
    importance = Condition(lambda get, _: get("quantize.importance") != "none", "quantize.importance=second_order")
    no_weights = Condition(lambda get, _: get("model.weights") is None, "a model without model.weights")
    return {
        **dict.fromkeys(("wavelet", "level", "boundary"), (has_levels,)),
        **{f"dataset.{name}": (no_weights,) for name in ("image_size", "resize", "channels", "mean", "std")},
        **dict.fromkeys(("threshold.scope", "threshold.allocation"), (prunes,)),
        "threshold.atom_norm": (prunes, has_levels),
        "threshold.shrinkage": (
            prunes,
            Condition(lambda get, _: _ranks_by_magnitude(get), "a method that ranks by magnitude"),
        ),
        "threshold.sensitivity": (
            Condition(lambda get, _: get("threshold.allocation") == "sensitivity", "threshold.allocation=sensitivity"),
        ),
        "retrain.ramp": (
            Condition(
                lambda get, _: get("retrain.name") in ("gradual", "rate") or get("retrain.regrow"),
                "retrain=gradual or rate, or retrain.regrow=true",
            ),
        ),
        "retrain.quantize_epochs": (Condition(lambda get, _: _is_trainable(get), no_weighing),),
        "quantize.bits": (
            Condition(
                lambda get, _: get("quantize.name") != "uniform" or get("quantize.step") is None, "quantize.step=null"
            ),
        ),
        "quantize.dead_zone": (
            Condition(
                lambda get, _: _is_trainable(get) or get("quantize.dead_zone") > WEIGHED_DEAD_ZONE,
                f"a value above {WEIGHED_DEAD_ZONE:g} where bits are weighed",
            ),
        ),
        "quantize.per": (
            has_levels,
            Condition(lambda get, _: get("quantize.step") is None, "quantize.step=null"),
        ),
        "quantize.atom_norm": (has_levels, Condition(lambda get, _: _is_trainable(get), no_weighing)),
        "quantize.damping": (importance,),
        "quantize.max_drop_in": (Condition(lambda get, _: get("quantize.max_drop") is not None, "quantize.max_drop"),),
        "quantize.images": (importance,),
        "quantize.other_bits": (
            Condition(lambda get, _: get("quantize.other") == "quantized", "quantize.other=quantized"),
        ),
        "compare_match": (
            Condition(
                lambda get, _: any(name != get("method.name") for name in get("compare")), "a method to compare with"
            ),
        ),
        "model.recipe.momentum": (
            Condition(
                lambda get, _: (
                    get("model.recipe.optimizer") == "sgd"
                    or (get("retrain.name") != "none" and get("retrain.optimizer") == "sgd")
                ),
                "model.recipe.optimizer=sgd",
            ),
        ),
    }
