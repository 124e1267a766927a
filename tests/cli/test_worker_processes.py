"""What is set on a launcher before it gets its jobs."""

import pytest
from hydra_plugins.hydra_joblib_launcher.joblib_launcher import JoblibLauncher

from wavesweep.cli.launchers import sweep_launcher
from wavesweep.errors import SettingsError


def test_a_small_batch_does_not_make_the_next_one_smaller():
    launcher = JoblibLauncher(n_jobs=2)
    workers = sweep_launcher(launcher)
    with workers.prepared(1) as size:
        assert (launcher.joblib["n_jobs"], size) == (1, 1)
    assert workers.jobs_at_once == 2
    with workers.prepared(5) as size:
        assert (launcher.joblib["n_jobs"], size) == (2, 5)


def test_no_process_at_all_is_refused():
    with pytest.raises(SettingsError, match=r"^hydra\.launcher\.n_jobs=0: "):
        sweep_launcher(JoblibLauncher(n_jobs=0)).launch([["level=1"]])
