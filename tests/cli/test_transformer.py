"""A user's own transformer on their own tokens, from the command line."""

import sys

import pytest
import torch
from command_line import records

import wavesweep

pytestmark = pytest.mark.integration

OWN_CODE = '''
import torch
from torch import nn

LENGTH, VOCABULARY = 15, 16


def data(train=1000, test=300, more=0):
    """Sequences of tokens; the class says whether more of them are even than odd."""
    generator = torch.Generator().manual_seed(0)
    parts = []
    for count in (train, test):
        tokens = torch.randint(0, VOCABULARY, (count, LENGTH), generator=generator)
        parts.append((tokens, ((tokens % 2 == 0).sum(1) > LENGTH // 2).long() + more))
    return tuple(parts)


class Encoder(nn.Module):
    """BERT in small: embeddings of tokens and places, then self-attention."""

    def __init__(self, width=32, layers=1):
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, width)
        self.places = nn.Embedding(LENGTH, width)
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers)
        self.classes = nn.Linear(width, 2)

    def forward(self, tokens):
        hidden = self.tokens(tokens) + self.places.weight[: tokens.shape[1]]
        return self.classes(self.encoder(hidden).mean(1))


def bert():
    from transformers import BertConfig, BertForSequenceClassification

    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 64}
    dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    config = BertConfig(vocab_size=VOCABULARY, max_position_embeddings=LENGTH, num_labels=2, **sizes, **dropout)
    return BertForSequenceClassification(config)
'''
LINE = (
    "model=custom",
    "dataset=custom",
    "dataset.target=own_code.data",
    "model.recipe={epochs: 6, learning_rate: 0.005, batch_size: 64}",
    "layers.types=[linear,embedding]",
    "wavelet=haar",
    "level=1",
    "threshold.percentile=80",
    "compare=[]",
)
ENCODER = ("model.target=own_code.Encoder", *LINE)
RETRAINED = (*ENCODER, "retrain=finetune", "retrain.epochs=3")


def write(directory):
    directory.mkdir(exist_ok=True)
    (directory / "own_code.py").write_text(OWN_CODE)
    return directory


@pytest.fixture(scope="module")
def trial(tmp_path_factory, forked):
    directory = write(tmp_path_factory.mktemp("transformer"))
    outcome = forked.run(directory, *RETRAINED)
    assert outcome.status == 0, outcome.stderr
    (record,) = records(directory).values()
    return directory, record


@pytest.fixture(scope="module")
def own_code(trial):
    sys.path.insert(0, str(trial[0]))
    import own_code

    yield own_code
    sys.path.remove(str(trial[0]))
    del sys.modules["own_code"]


def test_embeddings_and_attention_are_pruned_to_a_fifth_and_the_task_is_still_done(trial):
    record = trial[1]
    (arm,) = record["arms"]
    assert record["baseline"]["test"]["accuracy"] > 0.88
    assert arm["test"]["accuracy"] > 0.8  # half of the sequences are of a class
    assert arm["coefficient_sparsity"] == pytest.approx(0.8, abs=0.005)
    assert arm["stored_bytes"] < record["baseline"]["dense_bytes"] / 9
    assert [(layer["name"], layer["shape"], layer["levels"]) for layer in arm["layers"]] == [
        ("tokens.weight", [16, 32], [1, 1]),
        ("places.weight", [15, 32], [1, 1]),
        ("encoder.layers.0.self_attn.in_proj_weight", [96, 32], [1, 1]),
        ("encoder.layers.0.self_attn.out_proj.weight", [32, 32], [1, 1]),
        ("encoder.layers.0.linear1.weight", [64, 32], [1, 1]),
        ("encoder.layers.0.linear2.weight", [32, 64], [1, 1]),
        ("classes.weight", [2, 32], [1, 1]),
    ]
    assert all(layer["layout"] == "channel" for layer in arm["layers"])
    assert all("norm" in row["name"] or "bias" in row["name"] for row in record["not_pruned"])


def test_multiply_accumulates_are_those_of_all_matrices(trial):
    length, width = 15, 32
    matrices = 3 * width * width + width * width + 2 * width * 2 * width
    attention = 2 * length * length * width
    assert trial[1]["baseline"]["macs"] == length * matrices + attention + 2 * width


def test_the_file_computes_what_was_measured_also_without_fused_kernels(trial, own_code):
    directory, record = trial
    model = wavesweep.load(directory / "outputs" / "runs" / record["key"] / "model.wsz", own_code.Encoder()).eval()
    tokens, classes = own_code.data()[1]
    with torch.inference_mode():
        fused = model(tokens)
    plain = model(tokens).detach()  # with gradients, in which case there is no fused kernel
    assert float((fused.argmax(1) == classes).double().mean()) == record["arms"][0]["test"]["accuracy"]
    torch.testing.assert_close(fused, plain, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("shrink=true",), "shrink=True: is for images"),
        (("dataset.arguments={more: -1}",), "dataset.target=own_code.data: must return no negative classes"),
        (("dataset.name=digits", "dataset.target=null"), "model=custom: does not accept images of shape (1, 8, 8)"),
    ],
)
def test_what_does_not_fit_is_one_line(trial, forked, settings, message):
    outcome = forked.run(trial[0], *ENCODER, *settings)
    assert outcome.status == 2
    assert outcome.stderr.startswith(f"error: {message}")
    assert len(outcome.stderr.splitlines()) == 1


def test_a_network_of_hugging_face_is_taken_by_its_logits(tmp_path, forked):
    outcome = forked.run(write(tmp_path), "model.target=own_code.bert", *LINE, "retrain=finetune", "retrain.epochs=3")
    assert outcome.status == 0, outcome.stderr
    (record,) = records(tmp_path).values()
    assert record["arms"][0]["test"]["accuracy"] > 0.8
    names = [layer["name"] for layer in record["arms"][0]["layers"]]
    assert "bert.embeddings.word_embeddings.weight" in names
    assert "bert.encoder.layer.0.attention.self.query.weight" in names
