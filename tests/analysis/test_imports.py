"""What the analysis imports: of this package no more than records, settings and fronts; never PyTorch or Hydra."""

import json
import os
import subprocess
import sys

import pytest
from analysis_command import ROOT, command
from records import write_records

FOREIGN = ("torch", "torchvision", "hydra", "omegaconf", "sklearn", "pywt")
SHARED = ("wavesweep", "wavesweep.errors", "wavesweep.measure", "wavesweep.measure.fronts")
IMPORT_ALL = """
import importlib, pkgutil, sys
import wavesweep.analysis
for module in pkgutil.walk_packages(wavesweep.analysis.__path__, "wavesweep.analysis."):
    importlib.import_module(module.name)
"""
ANALYSE = """
from pathlib import Path
from wavesweep.analysis.html_report.page import render
from wavesweep.analysis.progress.status import lines, status
from wavesweep.analysis.table.collect import collect
outputs = Path(sys.argv[1])
render(collect(outputs), outputs)
lines(status(outputs))
"""
PRINT_LOADED = """
import json
print(json.dumps(sorted(sys.modules)))
"""


def loaded(*parts, arguments=()):
    """The modules that a fresh interpreter has after these lines."""
    done = subprocess.run(
        [sys.executable, "-c", "".join((*parts, PRINT_LOADED)), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout))


def test_no_module_of_the_analysis_loads_pytorch_hydra_or_optuna():
    found = loaded(IMPORT_ALL)
    assert {"wavesweep.analysis.report", "wavesweep.analysis.studies.catalogue.all"} <= found
    assert found & {*FOREIGN, "optuna"} == set()
    own = {name for name in found if name.partition(".")[0] == "wavesweep"}
    rooms = ("wavesweep.analysis", "wavesweep.runtime", "wavesweep.settings")
    assert [name for name in sorted(own) if name not in SHARED and not name.startswith(rooms)] == []


@pytest.mark.integration
def test_nor_does_making_the_table_the_report_and_the_status(tmp_path):
    write_records(tmp_path, 4, seeds=2)
    assert loaded(IMPORT_ALL, ANALYSE, arguments=[tmp_path]) & {*FOREIGN, "optuna"} == set()


def test_an_unchanged_table_is_checked_without_pandas(tmp_path):
    write_records(tmp_path, 1)
    assert command(tmp_path).returncode == 0
    run = "import sys\nfrom wavesweep.analysis import collect\nsys.argv = ['collect', sys.argv[1]]\n"
    quiet = "import contextlib, io\nwith contextlib.redirect_stdout(io.StringIO()):\n    collect.main()\n"
    found = loaded(run, quiet, arguments=[tmp_path])
    assert "pyarrow" in found
    assert "pandas" not in found
