"""`shrink=true` from the command line: the record, the file, and the network that it loads into."""

import json

import pytest
import torch
from command_line import QUICK, records

import wavesweep
from wavesweep.models.zoo import build_model
from wavesweep.settings.schema import ModelSettings

pytestmark = pytest.mark.integration

UNITS = ("method=unit", "threshold.percentile=60", "layers.exclude=[fc3*]", "compare=[]", QUICK)


@pytest.fixture(scope="module")
def outputs(forked, tmp_path_factory):
    """The directory of the same trial without and with the removal of units."""
    directory = tmp_path_factory.mktemp("shrink")
    for extra in ((), ("shrink=true",)):
        done = forked.run(directory, *UNITS, *extra)
        assert done.status == 0, done.stderr
    return directory


def arms(directory):
    found = {record["settings"]["shrink"]: (key, record) for key, record in records(directory).items()}
    return {name: (key, record, record["arms"][0]) for name, (key, record) in found.items()}


def test_the_smaller_network_is_what_is_stored_and_measured(outputs):
    (_, _, zeroed), (key, record, small) = arms(outputs)[False], arms(outputs)[True]
    shrunk = small["shrunk"]
    assert "shrunk" not in zeroed
    assert zeroed["arm_key"] != small["arm_key"]
    # 60 % of the 256 and 128 units of the hidden layers.
    removed = shrunk["removed"]
    assert removed == {"fc1": 154, "fc2": 77}
    hidden = [256 - removed["fc1"], 128 - removed["fc2"]]
    macs = 64 * hidden[0] + hidden[0] * hidden[1] + hidden[1] * 10
    assert small["macs"] == shrunk["macs"] == macs < record["baseline"]["macs"] == zeroed["macs"]
    assert shrunk["parameters_before"] == record["baseline"]["parameters"]
    assert shrunk["parameters_after"] == macs + sum(hidden) + 10
    assert shrunk["dense_bytes"] == 4 * shrunk["parameters_after"]
    assert shrunk["kept_because"] == []
    assert shrunk["inference_ms_zeroed"]["batch"]["median"] > 0
    for split in ("validation", "test"):
        assert small[split]["accuracy"] == pytest.approx(zeroed[split]["accuracy"], abs=0.003)
        assert small[split]["loss"] == pytest.approx(zeroed[split]["loss"], rel=1e-3)
    assert small["stored_bytes"] < zeroed["stored_bytes"]
    assert small["stored_bytes"] == (outputs / "outputs" / "runs" / key / "model.wsz").stat().st_size
    assert small["kept_coefficients"] == zeroed["kept_coefficients"]


def test_its_file_loads_into_a_network_of_full_size(outputs):
    found = arms(outputs)
    loaded = {}
    for shrink, (key, _, _) in found.items():
        model = build_model(ModelSettings(), (1, 8, 8), 10, seed=1)
        loaded[shrink] = wavesweep.load(outputs / "outputs" / "runs" / key / "model.wsz", model)
    images = torch.randn(20, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert loaded[True].fc1.out_features == 102
    # Biases took up constants, and are stored as float16.
    torch.testing.assert_close(loaded[True](images), loaded[False](images), rtol=2e-3, atol=2e-3)


def test_what_is_not_removed_says_why(forked, tmp_path):
    for arguments in (("method=unit", "threshold.percentile=60"), ("method=magnitude", "threshold.percentile=10")):
        done = forked.run(tmp_path, *arguments, "shrink=true", "compare=[]", QUICK)
        assert done.status == 0, done.stderr
    found = {record["arms"][0]["method"]: record for record in records(tmp_path).values()}
    assert found["unit"]["arms"][0]["shrunk"]["kept_because"] == [
        {"layer": "fc3", "units": 6, "reason": "is an output of the network"},
    ]
    assert found["unit"]["notes"] == []
    assert found["magnitude"]["arms"][0]["shrunk"]["removed"] == {}
    assert found["magnitude"]["notes"] == ["magnitude: no unit could be removed, none is all zero"]


def test_the_same_command_again_computes_nothing(forked, outputs):
    before = {path: path.stat().st_mtime_ns for path in outputs.rglob("*.json")}
    assert forked.run(outputs, *UNITS, "shrink=true").status == 0
    assert {path: path.stat().st_mtime_ns for path in outputs.rglob("*.json")} == before


def test_a_wrong_value_is_one_line(forked, tmp_path):
    done = forked.run(tmp_path, "shrink=perhaps")
    assert done.status == 2
    assert "shrink" in done.error
    assert "must be true or false" in done.error
    assert "Traceback" not in done.stderr


def test_keys_of_arms_that_are_not_shrunk_are_as_before(outputs):
    (_, _, zeroed) = arms(outputs)[False]
    record = json.loads((outputs / "outputs" / "arms" / zeroed["arm_key"] / "arm.json").read_text())
    assert "shrunk" not in record
