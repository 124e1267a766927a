"""Seconds that a grid of 500 finished trials takes when its command is run again.

    python benchmarks/rerun_speed.py

One trial is run for real; the records of the others are copies of it under the keys of their own settings.
"""

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from itertools import product
from pathlib import Path

from wavesweep.cli.composition import compose_settings
from wavesweep.experiment.inputs import input_digests
from wavesweep.settings.keys import trial_key

WAVELETS = ("haar", "db2", "db3", "db4", "sym4", "sym5", "coif1", "bior2.2", "bior4.4", "rbio3.3")
LEVELS = (1, 2, 3, 4, 5)
PERCENTILES = (50, 60, 70, 75, 80, 85, 90, 92, 95, 98)
ROUNDS = 3


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        outputs = Path(directory)
        first = (f"wavelet={WAVELETS[0]}", f"level={LEVELS[0]}", f"threshold.percentile={PERCENTILES[0]}")
        run(outputs, *first, "model.recipe.epochs=1")
        (found,) = outputs.glob("runs/*/result.json")
        record = json.loads(found.read_text())
        common = compose_settings(["model.recipe.epochs=1"])
        for wavelet, level, percentile in product(WAVELETS, LEVELS, PERCENTILES):
            common.wavelet, common.level, common.threshold.percentile = wavelet, level, float(percentile)
            key = trial_key(common, input_digests(common))
            path = outputs / "runs" / key / "result.json"
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps({**record, "key": key, "settings": {**record["settings"], **asdict(common)}}))
        grid = (
            f"wavelet={','.join(WAVELETS)}",
            f"level={','.join(map(str, LEVELS))}",
            f"threshold.percentile={','.join(map(str, PERCENTILES))}",
        )
        for _ in range(ROUNDS):
            started = time.perf_counter()
            shown = run(outputs, "-m", *grid, "model.recipe.epochs=1")
            seconds = time.perf_counter() - started
            (line,) = (line for line in shown.splitlines() if line.startswith("500 trials: "))
            print(f"{seconds:.1f} s: {line}", flush=True)


def run(outputs: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "wavesweep", *arguments, f"paths.outputs={outputs}"]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    main()
