"""Which contents of files are taken for records: what trials write, with fields added, and nothing of another shape."""

import copy
import json
from pathlib import Path

import pytest
from records import TEMPLATE, example

from wavesweep.runtime.records import RESULT_FILE, damage, read_json, read_trial, write_json
from wavesweep.runtime.shapes import Arm, Baseline, DamagedError, Failure, Front, Sweep, Trial, checked, has_shape


def changed(path, value):
    """The record of a trial with another value at `path`; the value None means that it is absent."""
    record = copy.deepcopy(example())
    *parents, last = path
    place = record
    for name in parents:
        place = place[name]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return record


def test_what_a_trial_wrote_is_a_record_whatever_else_it_holds():
    content = TEMPLATE.read_bytes()
    assert checked(content, Trial) == json.loads(content)
    newer = changed(("arms", 0, "of_a_later_version"), {"deep": [[[1]]]}) | {"schema_version": 3, "more": None}
    assert checked(json.dumps(newer).encode(), Trial) == newer


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (("arms",), [], "length >= 1 - at `$.arms`"),
        (("arms",), "text", "Expected `array`, got `str` - at `$.arms`"),
        (("arms",), None, "missing required field `arms`"),
        (("arms", 0, "validation", "accuracy"), "0.9", "Expected `float`, got `str`"),
        (("arms", 0, "validation", "accuracy"), 1.5, "Expected `float` <= 1.0"),
        (("arms", 0, "stored_bytes"), 0, "Expected `int` >= 1"),
        (("arms", 0, "stored_bytes"), 10**30, "Expected `int` <= "),
        (("arms", 0, "stored_bytes"), True, "Expected `int`, got `bool`"),
        (("arms", 1, "layers", 0, "shape"), {}, "Expected `array`, got `object`"),
        (("baseline", "validation"), [], "Expected `object`, got `array`"),
        (("settings", "seed"), "0", "Expected `int`, got `str`"),
        (("notes",), [1], "Expected `str`, got `int`"),
    ],
)
def test_a_record_of_another_shape_is_none_and_the_reason_says_where(tmp_path, path, value, says):
    directory = tmp_path / "runs" / example()["key"]
    write_json(directory / RESULT_FILE, changed(path, value))
    assert read_trial(directory) is None
    assert says in damage(directory / RESULT_FILE, Trial)


def test_the_record_of_another_trial_is_none(tmp_path):
    record = example()
    write_json(tmp_path / record["key"] / RESULT_FILE, record)
    write_json(tmp_path / "copy" / RESULT_FILE, record)
    assert read_trial(tmp_path / record["key"]) == record
    assert read_trial(tmp_path / "copy") is None


@pytest.mark.parametrize("shape", [Trial, Baseline, Arm, Failure, Front, Sweep])
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"{", "is not JSON"),
        (b'{"a": NaN}', "is not JSON"),
        (b'{"a": "\\ud800"}', "is not JSON"),
        (b"\xff", "is not JSON"),
        (b'{"a":' * 5000, "is not JSON"),
        (b"[]", "is not a JSON object"),
        (b"null", "is not a JSON object"),
        (b"{}", "Object missing required field"),
    ],
)
def test_no_kind_of_file_holds_this(shape, content, reason):
    with pytest.raises(DamagedError, match=f"^{reason}"):
        checked(content, shape)


def test_plain_values_of_a_database_are_checked_likewise():
    assert has_shape({"front": [{"values": [1, 0.5]}]}, Front)
    assert not has_shape({"front": [{"values": ["1"]}]}, Front)
    assert not has_shape(None, Front)


def test_absent_files_are_no_damage(tmp_path):
    path = Path(tmp_path / "none.json")
    assert read_json(path, Sweep) is None
    assert damage(path, Sweep) is None
