"""What a network takes without wavesweep, of tensors that are no ordinary weights."""

import pytest
import torch
from safetensors.torch import save

from wavesweep.measure.alternatives import dense_file_bytes, int8_state


def test_int8_weights_are_within_half_a_step_and_other_tensors_as_they_were():
    generator = torch.Generator().manual_seed(0)
    state = {
        "weight": torch.randn(5, 7, generator=generator),
        "bias": torch.randn(5, generator=generator),
        "mask": torch.full((3, 3), -torch.inf).triu(1),
        "empty": torch.zeros(5, 0),
        "steps": torch.tensor(3),
    }
    decoded, sizes = int8_state(state)
    half = state["weight"].abs().amax(1, keepdim=True) / 254
    assert bool(((decoded["weight"] - state["weight"]).abs() <= half * 1.001).all())
    for name in ("bias", "mask", "empty", "steps"):
        assert torch.equal(decoded[name], state[name])
    stored = {**state, "weight": torch.zeros(5, 7, dtype=torch.int8), "weight.scale": torch.zeros(5)}
    assert sizes["bytes"] == len(save(stored)) == pytest.approx(dense_file_bytes(state), abs=100)
