"""What a file can hold and what it cannot: odd tensors of a network, and what the command makes of their files."""

import pytest
import torch
from torch import nn

import wavesweep
from wavesweep.codec.__main__ import main as codec_command
from wavesweep.errors import SettingsError


class WithBuffer(nn.Module):
    def __init__(self, name="own", value=None):
        super().__init__()
        torch.manual_seed(0)
        self.fc = nn.Linear(16, 16)
        if value is not None:
            self.register_buffer(name, value)


class WithState(nn.Linear):
    def get_extra_state(self):
        return {"steps": 3}


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (WithBuffer(value=torch.zeros(3, dtype=torch.complex64)), r"^model: 'own' is of complex64; known are float16"),
        (WithBuffer(value=torch.zeros(3, dtype=torch.uint16)), r"^model: 'own' is of uint16; known are"),
        (WithBuffer(value=torch.zeros([1] * 9)), r"^model: 'own' has 9 axes; at most 8 are known"),
        (WithBuffer("a\tb", torch.zeros(3)), r"^model: the name 'a\\tb' has characters that cannot be printed"),
        (WithState(16, 16), r"^model: '_extra_state' is no tensor"),
    ],
)
def test_what_no_file_can_hold_is_refused_before_anything_is_computed(model, said):
    with pytest.raises(SettingsError, match=said):
        wavesweep.compress(model, ["wavelet=haar"])


def test_a_mask_of_infinities_is_stored_as_it_is(tmp_path):
    mask = torch.full((5, 5), float("-inf")).triu(1)
    with pytest.warns(UserWarning, match=r"of the file are tensors that are not coded: own \(\d+ %, a buffer\)$"):
        compressed = wavesweep.compress(WithBuffer(value=mask), ["wavelet=haar", "quantize.other=quantized"])
    assert torch.equal(compressed.state_dict()["own"], mask)
    wavesweep.save(compressed, tmp_path / "model.wsz")
    assert codec_command(["verify", str(tmp_path / "model.wsz")]) == 0


def test_a_buffer_of_bfloat16_is_listed(tmp_path, capsys):
    value = torch.tensor([0.0, 1.5, 0.0, 2.0], dtype=torch.bfloat16)
    wavesweep.save(wavesweep.compress(WithBuffer(value=value), ["wavelet=haar"]), tmp_path / "model.wsz")
    assert codec_command(["info", str(tmp_path / "model.wsz")]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("own"))
    assert "bfloat16" in line
    assert "50.00%" in line


def test_more_numbers_than_a_reader_allows_are_read_where_they_are_allowed(tmp_path, capsys):
    path = tmp_path / "model.wsz"
    wavesweep.save(wavesweep.compress(WithBuffer(), ["wavelet=haar"]), path)
    assert codec_command(["verify", str(path), "--numbers", "260"]) == 1
    assert "raise numbers (wavesweep.Limits, or --numbers)" in capsys.readouterr().err
    assert codec_command(["verify", str(path), "--numbers", "272"]) == 0


def test_a_file_is_not_decoded_onto_itself(tmp_path, capsys):
    path = tmp_path / "model.safetensors"
    wavesweep.save(wavesweep.compress(WithBuffer(), ["wavelet=haar"]), path)
    before = path.read_bytes()
    assert codec_command(["decode", str(path)]) == 1
    assert "is the file itself; give another output" in capsys.readouterr().err
    assert path.read_bytes() == before


@pytest.mark.parametrize("overrides", [["threshold=energy"], ["method=unit"], ["threshold.allocation=erk"], []])
def test_a_weight_without_numbers_is_left_alone(overrides):
    model = nn.Sequential(nn.Linear(16, 16), nn.Linear(1, 5))
    model[1].weight = nn.Parameter(torch.zeros(5, 0))
    wavelet = [] if "method=unit" in overrides else ["wavelet=haar"]
    state = wavesweep.compress(model, [*wavelet, *overrides]).state_dict()
    assert state["1.weight"].shape == (5, 0)


class Versioned(nn.Linear):
    """A layer that asks which version of it wrote the state, as torchvision's MNASNet does."""

    _version = 2

    def _load_from_state_dict(self, state, prefix, metadata, *others):
        if metadata.get("version") != 2:
            raise ValueError("version should be set")
        super()._load_from_state_dict(state, prefix, metadata, *others)


def test_layers_that_ask_for_a_version_are_filled(tmp_path):
    compressed = wavesweep.compress(Versioned(16, 16), ["wavelet=haar"])
    wavesweep.save(compressed, tmp_path / "model.wsz")
    loaded = wavesweep.load(tmp_path / "model.wsz", Versioned(16, 16))
    assert torch.equal(loaded.weight, compressed.state_dict()["weight"])
