"""Which tensors of a network may hold infinity, and what is said of those that may not."""

import math

import pytest
import torch

from wavesweep.runtime.finite import is_finite, is_storable, not_finite


@pytest.mark.parametrize(
    ("values", "finite", "storable"),
    [
        ([1.0, 2.0], True, True),
        ([1.0, math.inf], False, False),
        ([1.0, math.nan], False, False),
        ([[1.0, -math.inf]], False, True),  # as the mask of an attention
        ([[1.0, math.nan]], False, False),
        ([], True, True),
    ],
)
def test_numbers_are_finite_except_in_masks(values, finite, storable):
    assert is_finite(torch.tensor(values)) == finite
    assert is_storable(torch.tensor(values)) == storable


def test_the_error_names_the_tensor_and_what_to_check():
    assert str(not_finite("fc.weight")) == (
        "tensor fc.weight holds NaN or infinity; check the training of the baseline"
    )
