"""Retraining where the network is not on the CPU: on a pretended device, which takes no tensors of the CPU."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from retrainings import CALLERS, CPU, ON_DEVICES, compressed_of, file_of, settings_of, untimed

from wavesweep.experiment.trial import run_trial

HELPERS = Path(__file__).parents[1] / "helpers"


# One of each strategy and each kind of transform; the others are slow.
FEW = ("finetune, codebooks", "rate, frozen", "rotation")


@pytest.fixture(scope="module")
def cpu(tmp_path_factory):
    return tmp_path_factory.mktemp("cpu")


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    return on_device(tmp_path_factory.mktemp("few"), FEW)


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    return on_device(tmp_path_factory.mktemp("others"), [name for name in ON_DEVICES if name not in FEW])


def on_device(outputs, names):
    """The folder of trials on the device, and what was found: in one process, since it changes PyTorch for all."""
    command = [sys.executable, str(HELPERS / "on_pretend_device.py"), str(outputs), *names]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    return outputs, json.loads(found.stdout)


@pytest.mark.integration
@pytest.mark.parametrize("name", FEW)
def test_a_trial_on_another_device_gives_the_same_file_and_record(name, cpu, few):
    assert_as_on_the_cpu(name, cpu, few)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in ON_DEVICES if name not in FEW])
def test_so_does_every_other_kind(name, cpu, others):
    assert_as_on_the_cpu(name, cpu, others)


def assert_as_on_the_cpu(name, cpu, elsewhere):
    outputs, found = elsewhere
    record = found["records"][name]
    expected = run_trial(settings_of(cpu, **ON_DEVICES[name]))
    assert untimed(record) == untimed(json.loads(json.dumps(expected)))
    assert file_of(record, outputs).read_bytes() == file_of(expected, cpu).read_bytes()


@pytest.mark.integration
@pytest.mark.parametrize("number", range(len(CALLERS)))
def test_a_callers_network_on_another_device_gives_the_same_file(number, few):
    content = compressed_of([*CALLERS[number], "device=cpu"], CPU, CPU)
    assert [bytes.fromhex(text) for text in few[1]["files"][number]] == [content, content]


MIXED = [
    "here + there",
    "there.mul_(here)",
    "there.copy_(here).add_(here)",
    "torch.cat([here, there])",
    "torch.nn.Linear(3, 2).to(device)(here)",
    "torch.nn.Linear(3, 2)(there)",
    "here[torch.arange(2).to(device)]",
    "torch.rand(3, generator=torch.Generator(), device=device)",
    "there.numpy()",
]
SCRIPT = f"""
import torch
from pretend_device import pretend_device
device = pretend_device()
here = torch.ones(3)
there = here.to(device)
assert there.device.type == "pretend"
assert (there + there[1] + 0 * here[0]).sum().item() == 6 == there[here > 0].sum() * 2
for text in {MIXED}:
    try:
        eval(text)
    except (RuntimeError, TypeError):
        continue
    print(text)
"""


@pytest.mark.integration
def test_the_device_takes_no_tensors_of_the_cpu():
    found = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, cwd=HELPERS)
    assert found.stdout == ""  # what was not refused
