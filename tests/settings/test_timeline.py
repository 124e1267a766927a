"""When retraining prunes, quantises and at which rate: counts of epochs, the published schedules, refusals."""

from dataclasses import asdict
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wavesweep.errors import SettingsError
from wavesweep.settings.schema import Recipe, RetrainSettings
from wavesweep.settings.timeline import kept_counts, retraining_recipe, timeline

ONCE = ("finetune", "gradual")
BASELINE = Recipe(optimizer="sgd", learning_rate=0.1, schedule="multistep", epochs=12, batch_size=32, augment=True)
groups = st.lists(st.integers(0, 10_000).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))), min_size=1)


def epochs_of(name, **changes):
    return timeline(RetrainSettings(name, **changes), BASELINE, True)


@given(epochs=st.integers(1, 60), quantized=st.integers(0, 60), quantizes=st.booleans(), name=st.sampled_from(ONCE))
def test_kinds_of_one_round(epochs, quantized, quantizes, name):
    settings = RetrainSettings(name, epochs=epochs, quantize_epochs=quantized)
    if not quantizes:
        quantized = 0
    if epochs <= quantized:
        with pytest.raises(SettingsError, match=r"^retrain\.epochs=\d+: is too few for 1 round"):
            timeline(settings, BASELINE, quantizes)
        return
    found = timeline(settings, BASELINE, quantizes)
    assert [epoch.quantized for epoch in found] == [False] * (epochs - quantized) + [True] * quantized
    assert [place for place, epoch in enumerate(found) if epoch.fresh] == [0, *([epochs - quantized] * (quantized > 0))]
    assert not any(epoch.rewound or epoch.round for epoch in found)
    assert_each_phase_runs_through_the_schedule(found)


@given(epochs=st.integers(1, 60), rounds=st.integers(1, 12), quantized=st.integers(0, 5))
def test_rounds_of_iterative_pruning(epochs, rounds, quantized):
    settings = RetrainSettings("iterative", epochs=epochs, rounds=rounds, quantize_epochs=quantized)
    if epochs - quantized < rounds:
        with pytest.raises(SettingsError, match=rf"^retrain\.epochs={epochs}: is too few for {rounds} round"):
            timeline(settings, BASELINE, True)
        return
    found = timeline(settings, BASELINE, True)
    assert len(found) == epochs
    lengths = [sum(e.round == number and not e.quantized for e in found) for number in range(rounds)]
    assert max(lengths) - min(lengths) <= 1
    assert [epoch.round for epoch in found] == sorted(epoch.round for epoch in found)
    assert sum(epoch.fresh for epoch in found) == rounds + (quantized > 0)
    assert all(epoch.round == rounds - 1 for epoch in found if epoch.quantized)
    assert_each_phase_runs_through_the_schedule(found)


@given(
    epochs=st.integers(1, 30),
    start=st.integers(0, 40),
    rounds=st.integers(1, 4),
    quantized=st.integers(0, 8),
    kind=st.sampled_from(["weights", "learning_rate"]),
)
def test_a_rewound_round_is_the_rest_of_the_baselines_training(epochs, start, rounds, quantized, kind):
    settings = RetrainSettings(
        "rewind", rounds=rounds, rewind_epoch=start, quantize_epochs=quantized, rewind=kind, epochs=1
    )
    baseline = Recipe(epochs=epochs)
    if start >= epochs:
        with pytest.raises(SettingsError, match=rf"^retrain\.rewind_epoch={start}: must be below the {epochs} epochs"):
            timeline(settings, baseline, True)
        return
    length = epochs - start
    if quantized >= length:
        with pytest.raises(SettingsError, match=rf"^retrain\.quantize_epochs={quantized}: must be below the {length} "):
            timeline(settings, baseline, True)
        return
    found = timeline(settings, baseline, True)
    assert len(found) == rounds * length
    first_of_round = [place for place, epoch in enumerate(found) if epoch.fresh and not epoch.quantized]
    assert first_of_round == [number * length for number in range(rounds)]
    rewound = [place for place, epoch in enumerate(found) if epoch.rewound]
    assert rewound == (first_of_round if kind == "weights" else [])
    for place, epoch in enumerate(found[: (rounds - 1) * length]):
        # The learning rate of the baseline's epoch.
        assert epoch.begin == pytest.approx((start + place % length) / epochs)
        assert epoch.end == pytest.approx((start + place % length + 1) / epochs)
    assert [epoch.end for epoch in found if not epoch.quantized][-1] == pytest.approx(1.0)


def assert_each_phase_runs_through_the_schedule(found):
    edges = [place for place, epoch in enumerate(found) if epoch.fresh]
    for begin, end in zip(edges, [*edges[1:], len(found)], strict=True):
        phase = found[begin:end]
        assert phase[0].begin == 0
        assert phase[-1].end == pytest.approx(1)
        assert all(a.end == pytest.approx(b.begin) for a, b in pairwise(phase))
        assert all(epoch.begin < epoch.end for epoch in phase)
        assert {epoch.rate_scale for epoch in phase} == {0.1 if phase[0].quantized else 1.0}


def test_the_rate_is_learned_in_every_epoch():
    found = epochs_of("rate", epochs=5, quantize_epochs=2)
    assert [epoch.quantized for epoch in found] == [True] * 5
    assert [epoch.fresh for epoch in found] == [True] + [False] * 4
    assert {epoch.rate_scale for epoch in found} == {1.0}


@given(
    epochs=st.integers(2, 30),
    quantized=st.integers(0, 3),
    ramp=st.floats(0.01, 1),
    sizes=groups,
    moment=st.floats(0, 1),
    data=st.data(),
)
def test_gradual_pruning_is_cubic(epochs, quantized, ramp, sizes, moment, data):
    quantized = min(quantized, epochs - 1)
    settings = RetrainSettings("gradual", epochs=epochs, quantize_epochs=quantized, ramp=ramp)
    found = timeline(settings, BASELINE, True)
    totals, kept = zip(*sizes, strict=True)
    number = data.draw(st.integers(0, epochs - quantized - 1))
    counts = kept_counts(settings, found, number, moment, totals, kept)
    for total, last, count in zip(totals, kept, counts, strict=True):
        if not total:
            assert count == 0
            continue
        # Zhu and Gupta (2017): s_t = s_f + (s_i - s_f) (1 - (t - t_0) / (n dt))^3, here with s_i = 0, t_0 = 0.
        final, time, span = 1 - last / total, number + moment, ramp * (epochs - quantized)
        sparsity = final if time >= span else final + (0.0 - final) * (1 - time / span) ** 3
        assert abs((1 - count / total) - sparsity) <= 0.51 / total + 1e-9


@given(
    name=st.sampled_from(["finetune", "iterative", "gradual", "rewind", "rate"]),
    rounds=st.integers(1, 4),
    ramp=st.floats(0, 1),
    quantized=st.integers(0, 3),
    sizes=groups,
)
def test_counts_only_fall_and_end_where_they_should(name, rounds, ramp, quantized, sizes):
    settings = RetrainSettings(name, epochs=8, rounds=rounds, ramp=ramp, quantize_epochs=quantized)
    found = timeline(settings, BASELINE, True)
    totals, kept = zip(*sizes, strict=True)
    history = [
        kept_counts(settings, found, number, share, totals, kept)
        for number in range(len(found))
        for share in (0.0, 0.3, 0.95, 1.0)
    ]
    for counts in history:
        assert all(last <= count <= total for total, last, count in zip(totals, kept, counts, strict=True))
    for earlier, later in pairwise(history):
        assert all(a >= b for a, b in zip(earlier, later, strict=True))
    assert history[-1] == list(kept)


@given(total=st.integers(1, 100_000), share=st.floats(0.001, 1), rounds=st.integers(1, 8))
def test_rounds_prune_by_equal_ratios(total, share, rounds):
    last = max(1, round(total * share))
    settings = RetrainSettings("iterative", epochs=rounds, rounds=rounds, quantize_epochs=0)
    found = timeline(settings, BASELINE, True)
    counts = [kept_counts(settings, found, number, 0.0, [total], [last])[0] for number in range(rounds)]
    assert counts[-1] == last
    for number, count in enumerate(counts, start=1):
        assert count == pytest.approx(total * (last / total) ** (number / rounds), abs=0.51)


def test_the_recipe_is_the_baselines_with_what_is_given():
    plain = retraining_recipe(RetrainSettings("finetune", epochs=4), BASELINE)
    assert asdict(plain) == {**asdict(BASELINE), "epochs": 4, "schedule": "cosine"}
    given_ = {"optimizer": "adam", "learning_rate": 0.5, "weight_decay": 0.0, "batch_size": 7, "augment": False}
    changed = retraining_recipe(RetrainSettings("gradual", precision="bfloat16", **given_), BASELINE)
    assert {**asdict(changed)} == {
        **asdict(BASELINE), **given_, "precision": "bfloat16", "epochs": 10, "schedule": "cosine"
    }  # fmt: skip
    rewound = retraining_recipe(RetrainSettings("rewind", epochs=99, schedule="constant"), BASELINE)
    assert rewound == BASELINE
