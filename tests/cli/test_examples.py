"""The examples in `examples/`: each is run by the command of its docstring, and ends where it should."""

import ast
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
# Metric on test, and the least (or, of what is to be small, the largest) value of a network that learned something; and
# how many times smaller the file is at least.
EXPECTED = {
    "regression": ("r2", 0.3, 5),
    "segmentation": ("mean_iou", 0.8, 5),
    "character_gpt": ("bits_per_character", -4.5, 5),
    "implicit_image": ("psnr", 20, 4),
    "sequence_tagger": ("mean_iou", 0.7, 2),
    "two_inputs": ("accuracy", 0.75, 5),
}
# The others train for longer.
QUICK = ("regression",)


def command(path):
    """The words of the command in a module's docstring, without `python -m wavesweep`."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    start = text.index("python -m wavesweep")
    lines = text[start:].splitlines()
    count = next(number for number, line in enumerate(lines) if not line.endswith("\\")) + 1
    return shlex.split(" ".join(line.rstrip("\\") for line in lines[:count]))[3:]


def test_every_example_is_tried_and_short():
    assert {path.stem for path in EXAMPLES} == EXPECTED.keys()
    for path in EXAMPLES:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        assert len(lines) < 60, path


@pytest.mark.integration
@pytest.mark.parametrize(
    "path",
    [pytest.param(path, id=path.stem, marks=() if path.stem in QUICK else pytest.mark.slow) for path in EXAMPLES],
)
def test_one_command_trains_prunes_retrains_and_compresses_an_example(path, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "wavesweep", *command(path), f"paths.outputs={tmp_path}", "device=cpu", "compare=[]"],
        cwd=ROOT,
        # One thread: those of small networks wait for each other longer than they work.
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (found,) = tmp_path.glob("runs/*/result.json")
    record = json.loads(found.read_text())
    main, (metric, least, ratio) = record["arms"][0], EXPECTED[path.stem]
    assert record.get("task", {"primary": "accuracy"})["primary"] == metric
    sign = -1 if record.get("task", {}).get("direction") == "lower" else 1
    assert sign * main["test"][metric] > least
    assert sign * record["baseline"]["test"][metric] > least
    assert main["compression_ratio"] > ratio
    assert main["retraining"]["epochs"] > 0
    assert metric in done.stdout or metric == "accuracy"
