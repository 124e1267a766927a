"""Arms of equal stored size: how many coefficients, or which step, a method may have for the bytes of another."""

from collections.abc import Callable
from dataclasses import replace

from wavesweep.arms import Bench
from wavesweep.coding import code_arm
from wavesweep.compression.arm import ArmSpec

# Stored sizes count as equal within this share of the target.
TOLERANCE = 0.01
_HALVINGS, _FARTHEST = 14, 64.0


def match_bytes(spec: ArmSpec, target_bytes: int, prunes: bool, bench: Bench) -> ArmSpec:
    """`spec` with as many kept coefficients as make its file `target_bytes` long, to within 1 % where that exists.

    Args:
        spec: an arm with `kept` set.
        target_bytes: stored size of the arm it is compared with.
        prunes: whether that arm pruned anything; if not, the step of the quantiser is changed instead.
        bench: what all arms of the trial have in common.
    """
    network = bench.network()

    def changed(factor: float) -> ArmSpec:
        if not prunes:
            return replace(spec, step_scale=spec.step_scale / factor)
        return replace(spec, kept=tuple(max(0, round(count * factor)) for count in spec.kept or ()))

    return changed(_search(lambda factor: len(code_arm(changed(factor), bench.coding, network).content), target_bytes))


def _search(size_bytes: Callable[[float], int], target_bytes: int) -> float:
    """The factor whose size is nearest to the target, if sizes grow with it."""
    low, high = 1 / _FARTHEST, _FARTHEST
    factor, best, distance = 1.0, 1.0, float("inf")
    for _ in range(_HALVINGS):
        size = size_bytes(factor)
        if abs(size - target_bytes) < distance:
            best, distance = factor, abs(size - target_bytes)
        if distance <= TOLERANCE / 4 * target_bytes:
            break
        low, high = (factor, high) if size < target_bytes else (low, factor)
        factor = (low * high) ** 0.5
    return best
