"""The example of docs/guide/your_model.md, word for word, with a network for images and with one for tokens."""

import re
import sys
import warnings
from pathlib import Path

import pytest
import torch
from command_line import records
from torch import nn

pytestmark = pytest.mark.integration

DOCS = Path(__file__).parents[2] / "docs" / "guide" / "your_model.md"
IMAGES = """
import torch
from torch import nn


def build():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 3))


def load_data():
    generator = torch.Generator().manual_seed(0)
    classes = torch.arange(600) % 3
    inputs = torch.randn(600, 1, 8, 8, generator=generator)
    inputs[torch.arange(600), 0, classes] += 1.5
    return (inputs[:400], classes[:400]), (inputs[400:], classes[400:])
"""
TOKENS = """
import torch
from torch import nn


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(12, 16)
        layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1)
        self.head = nn.Linear(16, 3)

    def forward(self, tokens):
        return self.head(self.encoder(self.embedding(tokens)).mean(1))


def build():
    return Encoder()


def load_data():
    inputs = torch.randint(0, 12, (600, 7), generator=torch.Generator().manual_seed(0))
    classes = torch.stack([(inputs % 3 == kind).sum(1) for kind in range(3)], 1).argmax(1)
    return (inputs[:400], classes[:400]), (inputs[400:], classes[400:])
"""


@pytest.fixture(params=[IMAGES, TOKENS], ids=["images", "tokens"])
def own(request, tmp_path, monkeypatch):
    """A directory with a network, its checkpoint, and its data."""
    (tmp_path / "mynet.py").write_text(request.param)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    import mynet

    torch.manual_seed(0)
    model, (inputs, classes) = mynet.build(), mynet.load_data()[0]
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), classes).backward()
        optimizer.step()
    torch.save(model.state_dict(), "mynet.pt")
    yield mynet
    del sys.modules["mynet"]


@pytest.mark.usefixtures("own")
def test_the_example_in_python_runs_as_it_is_written(capsys):
    (code,) = re.findall(r"```python\n(import torch\n.*?)```", DOCS.read_text(), re.DOTALL)
    found = {}
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        exec(code, found)  # the text of our own documentation
    assert all("are not coded" in str(one.message) for one in said)  # an embedding, by default
    assert found["accuracy"] > 0.75
    assert found["small"].stored_bytes == Path("mynet.wsz").stat().st_size < Path("mynet.pt").stat().st_size / 3
    assert capsys.readouterr().out.startswith(f"{found['small'].stored_bytes:,} bytes, ")


def test_the_same_from_the_command_line_compresses_the_checkpoint(own, forked, tmp_path):
    (line,) = re.findall(r"    python -m wavesweep (model=custom model.target=mynet.*checkpoint=.*)", DOCS.read_text())
    outcome = forked.run(tmp_path, *line.split(), "wavelet=haar", "level=1", "compare=[]")
    assert outcome.status == 0, outcome.stderr
    (record,) = records(tmp_path).values()
    model, (inputs, classes) = own.build(), own.load_data()[1]
    model.load_state_dict(torch.load("mynet.pt", weights_only=True))
    accuracy = float((model(inputs).argmax(1) == classes).double().mean())
    assert record["baseline"]["test"]["accuracy"] == pytest.approx(accuracy)
    assert accuracy > 0.8
