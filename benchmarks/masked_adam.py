"""What pruned coefficients cost an optimizer on the CPU: their averages fade to subnormal numbers, or are zero.

A step of Adam over as many numbers as LeNet-5 has, nine tenths of which get no gradient any more: right after they are
pruned, 900 steps later, and the same where the optimizer was made to forget them; plain and fused.

    python benchmarks/masked_adam.py
"""

import time
from statistics import median

import torch

COUNT, PRUNED, STEPS = 430_500, 0.9, 200


def step_ms(optimizer: torch.optim.Optimizer) -> float:
    times = []
    for _ in range(STEPS):
        started = time.process_time()
        optimizer.step()
        times.append(time.process_time() - started)
    return 1e3 * median(times)


def optimizer_of(fused: bool, forgets: bool) -> torch.optim.Optimizer:
    """One that has taken some steps with all numbers and now gets gradients of a tenth."""
    generator = torch.Generator().manual_seed(0)
    values = torch.nn.Parameter(torch.randn(COUNT, generator=generator))
    gradient = torch.randn(COUNT, generator=generator) * 1e-3
    mask = (torch.rand(COUNT, generator=generator) > PRUNED).float()
    optimizer = torch.optim.Adam([values], fused=fused)
    values.grad = gradient
    for _ in range(3):
        optimizer.step()
    values.grad = gradient * mask
    if forgets:
        for name in ("exp_avg", "exp_avg_sq"):
            optimizer.state[values][name].mul_(mask)
    return optimizer


def main() -> None:
    torch.set_num_threads(1)
    print(f"{COUNT:,} numbers, {PRUNED:.0%} without gradient, one thread, milliseconds of a step")
    for fused in (False, True):
        for forgets in (False, True):
            optimizer = optimizer_of(fused, forgets)
            first = step_ms(optimizer)
            for _ in range(900 - STEPS):
                optimizer.step()
            name = f"{'fused' if fused else 'plain'}{', forgets what is pruned' if forgets else ''}"
            print(f"{name:32} {first:6.2f} at first {step_ms(optimizer):6.2f} after 900 steps", flush=True)


if __name__ == "__main__":
    main()
