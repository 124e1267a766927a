"""A method and a threshold of one's own, a file each: they are in --help and in checks' texts, and run in a sweep."""

import os

import pytest
from command_line import ENVIRONMENT, QUICK, records, run

METHOD = '''
"""A toy method: weights by their value, whatever its sign."""

from wavesweep.settings.registry import Method, Score


def by_value(tensor, atom_norm, seed):
    return tensor.coefficients - tensor.coefficients.min()


ROWS = (
    Score("value", "the value itself", "wavesweep_plugins.toy_method:by_value"),
    Method("toy", "the largest weights, signs counted", score="value"),
)
'''
THRESHOLD = '''
"""A toy threshold: every second coefficient, by its score."""

from wavesweep.pruning.thresholds import Cut
from wavesweep.settings.registry import Threshold


def half(scores, number, finest):
    return Cut(scores.numel() // 2)


ROWS = (Threshold("half", "keep half of the coefficients", "wavesweep_plugins.toy_threshold:half"),)
'''


@pytest.fixture
def environment(tmp_path):
    """That of a user who has two files of rows on the Python path."""
    plugins = tmp_path / "own" / "wavesweep_plugins"
    plugins.mkdir(parents=True)
    (plugins / "toy_method.py").write_text(METHOD)
    (plugins / "toy_threshold.py").write_text(THRESHOLD)
    return ENVIRONMENT | {"PYTHONPATH": os.pathsep.join([str(tmp_path / "own"), os.environ.get("PYTHONPATH", "")])}


@pytest.mark.integration
def test_rows_of_ones_own_are_in_the_help_in_the_checks_and_run_in_a_sweep(tmp_path, environment):
    shown = run(tmp_path, "--help", env=environment).stdout
    assert "  toy              the largest weights, signs counted" in shown
    assert "  half        keep half of the coefficients" in shown
    wrong = run(tmp_path, "method=toys", env=environment)
    assert wrong.status == 2
    assert wrong.stderr.startswith("error: method=toys: must be one of ")
    assert "toy" in wrong.stderr.removeprefix("error: method=toys: must be one of ").strip().split(", ")
    wrong = run(tmp_path, "threshold.rule=third", env=environment)
    text = "error: threshold.rule=third: must be one of percentile, universal, energy, absolute, half\n"
    assert (wrong.status, wrong.stderr) == (2, text)
    swept = run(tmp_path, "-m", "method=toy,wavelet", "threshold=half", "level=1", QUICK, env=environment)
    assert swept.status == 0, swept.stderr
    assert "2 trials: 2 done (0 of them before this run), 0 failed" in swept.stdout
    found = {record["arms"][0]["method"]: record["arms"][0] for record in records(tmp_path).values()}
    assert found.keys() == {"toy", "wavelet"}
    for arm in found.values():
        assert arm["requested"] == {"rule": "half", "value": None, "scope": "layer"}
        assert arm["kept_coefficients"] == sum(layer["coefficients"] // 2 for layer in arm["layers"])


@pytest.mark.integration
def test_a_plugin_that_cannot_be_imported_is_named_in_one_line(tmp_path, environment):
    (tmp_path / "own" / "wavesweep_plugins" / "toy_method.py").write_text("import nosuch")
    ended = run(tmp_path, env=environment)
    assert ended.status == 2
    assert ended.stderr.startswith("error: plugin wavesweep_plugins.toy_method: cannot be used (ModuleNotFoundError")
    assert ended.stderr.count("\n") == 1
