"""What is said of tensors that no coder takes, though the user did not leave them out."""

import warnings

import pytest
import torch
from torch import nn

import wavesweep
from wavesweep.cli.tables import show_trials
from wavesweep.experiment.trial import run_trial
from wavesweep.settings.schema import ModelSettings, PathsSettings, Recipe, Settings

OVERRIDES = ["method=magnitude", "threshold=none"]


class Tagger(nn.Module):
    """Rows of the digits as a sequence."""

    def __init__(self, kind=nn.LSTM):
        super().__init__()
        self.rows, self.out = kind(8, 24, batch_first=True), nn.Linear(24, 10)

    def forward(self, images):
        return self.out(self.rows(images.reshape(-1, 8, 8))[0][:, -1])


class Reader(nn.Module):
    """Tokens, with positions that are a parameter."""

    def __init__(self):
        super().__init__()
        self.tokens, self.out = nn.Embedding(50, 32), nn.Linear(32, 10)
        self.positions = nn.Parameter(torch.randn(1, 40, 32))

    def forward(self, tokens):
        return self.out((self.tokens(tokens) + self.positions[:, : tokens.shape[1]]).mean(1))


def said(model, *overrides):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        small = wavesweep.compress(model, [*OVERRIDES, *overrides])
    return [str(warning.message) for warning in found], small


@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
def test_recurrent_matrices_are_named_with_their_share(kind, gates):
    (note,), small = said(Tagger(kind))
    share = 100 * 2 * gates * 24 * (8 + 24) / small.stored_bytes  # float16
    assert note == (
        f"{share:.0f} % of the file are tensors that are not coded, being no weights of conv, linear layers: "
        "rows.weight_hh_l0, rows.weight_ih_l0"
    )


def test_types_that_would_be_coded_are_offered():
    (note,), _ = said(Reader())
    assert note.endswith(": tokens.weight, positions; with layers.types=[conv,linear,embedding] more are")
    (note,), _ = said(Reader(), "layers.types=[conv,linear,embedding]")
    assert note.endswith(": positions")


@pytest.mark.parametrize("overrides", [["layers.exclude=[rows*]"], ["layers.include=[out*]"]])
def test_what_the_user_leaves_out_is_not_mentioned(overrides):
    model = nn.Sequential()
    model.rows, model.out = nn.Linear(64, 64), nn.Linear(64, 10)
    assert said(model, *overrides)[0] == []
    model.rows = nn.Embedding(64, 64)
    assert said(model, "layers.types=[linear]")[0] == []


def test_small_shares_and_vectors_are_not_mentioned():
    model = nn.Sequential(nn.Linear(8, 64), nn.BatchNorm1d(64), nn.Linear(64, 8))
    assert said(model)[0] == []
    model.register_parameter("few", nn.Parameter(torch.ones(2, 2)))
    assert said(model)[0] == []


def test_a_trial_has_the_note_in_its_record_and_the_table_shows_it(tmp_path, capsys):
    model = ModelSettings("custom", target=f"{__name__}.Tagger", recipe=Recipe(epochs=1, batch_size=64))
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
    assert note.endswith(": rows.weight_hh_l0, rows.weight_ih_l0")
    # A sweep says it once, although the share differs.
    other = {**record, "notes": [note.replace(note[:2], "99")]}
    show_trials([({"level": "1"}, record), ({"level": "2"}, other)], settings)
    assert [line for line in capsys.readouterr().out.splitlines() if "are not coded" in line] == [f"note: {note}"]
