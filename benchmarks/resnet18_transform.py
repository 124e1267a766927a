"""Transform + threshold + inverse of all weight tensors of ResNet-18, against a plain serial PyWavelets loop.

Both prune 80 % of the coefficients of each tensor with bior2.2 at level 3 over the channel axes, by the same
rule. The two are timed in turns in one process; the ratio of their medians is what counts.

    python benchmarks/resnet18_transform.py
"""

import os
import platform
import time
from statistics import median

import numpy as np
import pywt
import torch
from torch import Tensor

from wavesweep.models.zoo import build_model
from wavesweep.pruning.plan import TensorPlan, plan_tensors
from wavesweep.pruning.prune import ArmSpec, prune
from wavesweep.settings.schema import ModelSettings, Settings

ROUNDS = 7


def pywavelets_loop(weights: dict[str, Tensor], plans: list[TensorPlan], settings: Settings) -> dict[str, np.ndarray]:
    """What a careful user writes by hand with PyWavelets; where the axes' levels differ, the lower one is used."""
    pruned = {}
    for plan in plans:
        weight, level = weights[plan.name].numpy(), min(plan.levels)
        if level == 0:
            array, slices = weight, None
        else:
            bands = pywt.wavedecn(weight, plan.wavelet, settings.boundary, level, plan.axes)
            array, slices = pywt.coeffs_to_array(bands, axes=plan.axes)
        magnitudes = np.abs(array)
        count = round(array.size * settings.threshold.percentile / 100)
        edge = np.partition(magnitudes.ravel(), count)[count]
        array = np.where(magnitudes >= edge, array, 0)
        if slices is not None:
            bands = pywt.array_to_coeffs(array, slices, "wavedecn")
            array = pywt.waverecn(bands, plan.wavelet, settings.boundary, plan.axes)
        pruned[plan.name] = array[tuple(slice(size) for size in plan.shape)]
    return pruned


def main() -> None:
    """Time both in turns and print medians and their ratio."""
    settings = Settings(wavelet="bior2.2", level=3, layout="channel")
    model = build_model(ModelSettings(name="resnet18"), (3, 32, 32), 10, 0)
    plans = [plan for plan in plan_tensors(model, settings, (3, 32, 32)) if plan.pruned]
    weights = {name: parameter.detach() for name, parameter in model.named_parameters()}
    spec = ArmSpec("wavelet", tuple(plans), settings.boundary, settings.threshold, 0)

    ours, theirs = [], []
    for _ in range(ROUNDS + 1):
        started = time.perf_counter()
        arm = prune(weights, spec)
        ours.append(time.perf_counter() - started)
        started = time.perf_counter()
        loop = pywavelets_loop(weights, plans, settings)
        theirs.append(time.perf_counter() - started)
    ours, theirs = ours[1:], theirs[1:]  # the first round warms up

    agree = sum(np.allclose(t.weight, loop[t.plan.name], atol=1e-5) for t in arm.tensors)
    count = sum(plan.weights for plan in plans)
    print(f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"{count:,} weights in {len(plans)} tensors; equal weights from both in {agree} of them")
    print(f"wavesweep   median {median(ours):.3f} s  (min {min(ours):.3f}, max {max(ours):.3f})")
    print(f"PyWavelets  median {median(theirs):.3f} s  (min {min(theirs):.3f}, max {max(theirs):.3f})")
    print(f"ratio       {median(ours) / median(theirs):.2f}  (target: at most 0.5 on 4 cores)")


if __name__ == "__main__":
    main()
