"""The same settings give the same record, whatever process and directory they run in."""

import hashlib

import pytest
from command_line import records, run, without_timings

pytestmark = pytest.mark.integration


def test_single_run_elsewhere_gives_the_record_of_the_sweep(readme_sweep, tmp_path):
    swept, _ = readme_sweep
    outcome = run(tmp_path, "wavelet=rbio3.3", "level=3", "paths.outputs=outputs/deeper", "progress=false")
    assert outcome.status == 0, outcome.stderr
    alone = records(tmp_path, outputs="outputs/deeper")
    ((key, record),) = alone.items()
    again = records(swept)[key]
    # Nothing is compared with itself: both computed their own.
    assert record["seconds"] != again["seconds"]
    assert without_timings(record) == without_timings(again)

    weights = [
        hashlib.sha256(next(outputs.glob("baselines/*/weights.safetensors")).read_bytes()).hexdigest()
        for outputs in (swept / "outputs", tmp_path / "outputs" / "deeper")
    ]
    assert weights[0] == weights[1]
    assert outcome.stderr == ""
    assert f"record: outputs/deeper/runs/{key}/result.json" in outcome.stdout
