"""The bar for networks that nobody here made: nearly all numbers of their matrices are pruned and coded by default."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from wavesweep.pruning.plan import SAME_AS, plan_tensors
from wavesweep.settings.schema import Settings

_OF_HUGGING_FACE = ("BERT", "GPT-2", "T5")


def share_coded(model):
    plans = plan_tensors(model, Settings(wavelet="haar", level=2), ())
    matrices = [plan for plan in plans if len(plan.shape) > 1 and not plan.reason.startswith(SAME_AS)]
    return sum(plan.weights for plan in matrices if plan.pruned) / sum(plan.weights for plan in matrices)


@pytest.mark.integration
def test_at_least_99_percent_of_the_matrices_are_coded(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "benchmarks"))
    from covered_networks import NETWORKS

    skipped = () if find_spec("transformers") else _OF_HUGGING_FACE
    shares = {one.name: share_coded(one.make()) for one in NETWORKS if not one.name.startswith(skipped or "-")}
    assert len(shares) >= 25
    assert {name: share for name, share in shares.items() if share < 0.99} == {}
