"""The wheel holds the configuration, and works where no checkout is."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from command_line import ENVIRONMENT

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    directory = tmp_path_factory.mktemp("wheel")
    built = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", str(ROOT), "--no-deps", "--wheel-dir", str(directory)],
        capture_output=True,
        text=True,
        check=False,
    )
    if built.returncode != 0 and "hatchling" in built.stderr:
        pytest.skip("the build backend, hatchling, cannot be fetched")
    assert built.returncode == 0, built.stderr
    (path,) = directory.glob("*.whl")
    return path


@pytest.mark.slow
def test_wheel_holds_every_configuration_file_and_no_test(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    configurations = {f"wavesweep/{path.relative_to(ROOT).as_posix()}" for path in ROOT.glob("conf/**/*.yaml")}
    modules = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("wavesweep/**/*.py")}
    analysis = "wavesweep/analysis"
    data = {f"{analysis}/studies/published.yaml"} | {
        f"{analysis}/html_report/templates/report.{ending}" for ending in ("css", "html.j2", "js")
    }
    assert "wavesweep/conf/config.yaml" in configurations
    assert configurations | modules | data <= names
    assert [name for name in names if name.startswith(("analysis/", "tests/", "benchmarks/", "conf/"))] == []


@pytest.mark.slow
def test_unpacked_wheel_works_away_from_the_checkout(wheel, tmp_path):
    unpacked, elsewhere = tmp_path / "unpacked", tmp_path / "elsewhere"
    zipfile.ZipFile(wheel).extractall(unpacked)
    elsewhere.mkdir()

    def python(*arguments):
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=elsewhere,
            env=ENVIRONMENT | {"PYTHONPATH": str(unpacked)},
            capture_output=True,
            text=True,
            check=False,
        )

    where = python("-c", "import wavesweep; print(wavesweep.__file__)")
    assert Path(where.stdout.strip()) == unpacked / "wavesweep" / "__init__.py", where.stderr
    printed = python("-m", "wavesweep", "--cfg", "job", "model=lenet5")
    assert printed.returncode == 0, printed.stderr
    assert yaml.safe_load(printed.stdout)["model"]["name"] == "lenet5"
    ran = python("-m", "wavesweep", "-m", "level=1,2", "model.recipe.epochs=1")
    assert ran.returncode == 0, ran.stderr
    assert len(list(elsewhere.glob("outputs/runs/*/result.json"))) == 2
    reported = python("-m", "wavesweep.analysis.report", "outputs/")
    assert reported.returncode == 0, reported.stderr
    assert (elsewhere / "outputs" / "report.html").is_file()
