"""What networks return, as one tensor."""

from types import SimpleNamespace

import pytest
import torch

from wavesweep.models.outputs import tensor_of_outputs

WANTED, OTHER = torch.ones(2, 3), torch.zeros(2)


@pytest.mark.parametrize(
    "outputs",
    [
        WANTED,
        (WANTED, OTHER),
        [WANTED, (OTHER, OTHER)],
        ((WANTED, OTHER), OTHER),
        (None, WANTED),
        {"loss": OTHER, "logits": WANTED},
        {"out": WANTED, "aux": OTHER},
        {"boxes": WANTED, "scores": OTHER},
        {"features": {"a": WANTED}},
        SimpleNamespace(loss=OTHER, logits=WANTED),
        SimpleNamespace(last_hidden_state=WANTED, pooler_output=OTHER),
    ],
)
def test_the_predictions_are_those_with_a_usual_name_or_the_first(outputs):
    assert tensor_of_outputs(outputs) is WANTED


def test_what_holds_no_tensor_stays():
    for outputs in (None, {}, "text", [1, 2], SimpleNamespace(a=1)):
        assert tensor_of_outputs(outputs) is outputs
