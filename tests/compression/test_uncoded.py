"""What is said of tensors that no coder takes, though the user did not leave them out."""

import warnings

import pytest
import torch
from torch import nn

import wavesweep
from wavesweep.cli.tables import show_trials
from wavesweep.compression.uncoded import uncoded_record, uncoded_tensors
from wavesweep.experiment.trial import run_trial
from wavesweep.pruning.plan import plan_tensors
from wavesweep.settings.schema import LayersSettings, ModelSettings, PathsSettings, Recipe, Settings

OVERRIDES = ["method=magnitude", "threshold=none"]


class Tagger(nn.Module):
    """Rows of the digits as a sequence."""

    def __init__(self, kind=nn.LSTM):
        super().__init__()
        self.rows, self.out = kind(8, 24, batch_first=True), nn.Linear(24, 10)

    def forward(self, images):
        return self.out(self.rows(images.reshape(-1, 8, 8))[0][:, -1])


class WithTable(Tagger):
    """One with a buffer of several axes."""

    def __init__(self):
        super().__init__()
        self.register_buffer("table", torch.randn(64, 24))


class Reader(nn.Module):
    """Tokens, with positions that are computed once and kept as a buffer."""

    def __init__(self, positions=True):
        super().__init__()
        self.tokens, self.out = nn.Embedding(50, 32), nn.Linear(32, 10)
        if positions:
            self.register_buffer("positions", torch.randn(1, 40, 32))


def said(model, *overrides):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        small = wavesweep.compress(model, [*OVERRIDES, *overrides])
    return [str(warning.message) for warning in found], small


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_matrices_are_coded(kind):
    notes, small = said(Tagger(kind))
    assert notes == []
    assert all(len(one.shape) == 1 for one in uncoded_tensors(small.content, ()))
    numbers = sum(value.numel() for value in Tagger(kind).parameters())
    assert small.stored_bytes < 1.3 * numbers


def test_buffers_are_named_with_their_share():
    (note,), small = said(Reader())
    share = 100 * 2 * 40 * 32 / small.stored_bytes  # float16
    assert note == f"{share:.0f} % of the file are tensors that are not coded: positions ({share:.0f} %, a buffer)"
    assert said(Reader(positions=False))[0] == []


def test_what_is_not_coded_is_listed_with_its_share_and_the_reason():
    small = said(Tagger(), "layers.types=[linear]")[1]
    plans = plan_tensors(Tagger(), Settings(layers=LayersSettings(types=["linear"])), ())
    rows = uncoded_tensors(small.content, plans)
    assert [(row.name, row.bytes, row.reason) for row in rows][:2] == [
        ("rows.weight_hh_l0", 2 * 96 * 24, "recurrent is not among layers.types"),
        ("rows.weight_ih_l0", 2 * 96 * 8, "recurrent is not among layers.types"),
    ]
    assert rows[0].share == 2 * 96 * 24 / small.stored_bytes
    record = uncoded_record(rows)
    assert record["bytes"] == 2 * (96 * (24 + 8 + 2) + 10)
    assert record["share"] == pytest.approx(record["bytes"] / small.stored_bytes)


def test_small_matrices_that_are_much_of_the_file_are_named_with_what_codes_them():
    model = nn.Sequential(nn.Linear(400, 400), nn.LSTM(8, 4))
    (note,), _ = said(model, "threshold=percentile", "threshold.percentile=99.9")
    assert "1.weight_ih_l0 (" in note
    assert note.endswith("; with layers.types=[all] all parameters of several axes are")
    assert said(model, "threshold=percentile", "threshold.percentile=99.9", "layers.types=[all]")[0] == []


@pytest.mark.parametrize(
    ("override", "why"),
    [
        ("layers.exclude=[rows*]", ", matches layers.exclude 'rows*')"),
        ("layers.include=[out*]", ", matches no pattern of layers.include)"),
        ("layers.types=[conv]", "); with layers.types=[all] all parameters of several axes are"),
    ],
)
def test_what_the_user_leaves_out_is_named_with_the_reason(override, why):
    model = nn.Sequential()
    model.rows, model.out = nn.Linear(64, 64), nn.Conv1d(64, 10, 1)
    (note,), small = said(model, override)
    share = f"{100 * 2 * 64 * 64 / small.stored_bytes:.0f} %"
    assert note == f"{share} of the file are tensors that are not coded: rows.weight ({share}{why}"


def test_small_shares_and_vectors_are_not_mentioned():
    model = nn.Sequential(nn.Linear(8, 64), nn.BatchNorm1d(64), nn.Linear(64, 8))
    assert said(model)[0] == []
    model.register_parameter("few", nn.Parameter(torch.ones(2, 2)))
    assert said(model)[0] == []


def test_a_trial_has_the_note_in_its_record_and_the_table_shows_it(tmp_path, capsys):
    model = ModelSettings("custom", target=f"{__name__}.WithTable", recipe=Recipe(epochs=1, batch_size=64))
    settings = Settings(
        model=model,
        paths=PathsSettings(outputs=str(tmp_path)),
        device="cpu",
        progress=False,
        compare=[],
        wavelet="haar",
    )
    record = run_trial(settings)
    (note,) = (note for note in record["notes"] if "are not coded" in note)
    assert ": table (" in note
    assert record["not_coded"]["tensors"][0] == {
        "name": "table",
        "shape": [64, 24],
        "bytes": 2 * 64 * 24,
        "share": 2 * 64 * 24 / record["arms"][0]["stored_bytes"],
        "reason": "a buffer",
    }
    # A sweep says it once, although the share differs.
    other = {**record, "notes": [note.replace(note[:2], "99")]}
    show_trials([({"level": "1"}, record), ({"level": "2"}, other)], settings)
    assert [line for line in capsys.readouterr().out.splitlines() if "are not coded" in line] == [f"note: {note}"]
