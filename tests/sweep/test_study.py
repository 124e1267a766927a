"""The study that several processes share: what happens to trials whose process is gone, counts, descriptions."""

import os
import subprocess
import sys
from contextlib import ExitStack
from functools import partial

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.samplers import RandomSampler
from optuna.trial import TrialState

from wavesweep.errors import SettingsError
from wavesweep.runtime.study_storage import open_storage, storage_url
from wavesweep.sweep.search.conditions import Tree
from wavesweep.sweep.search.samplers import visited
from wavesweep.sweep.search.study import Counts, Description, joined

SPACE = {"x": FloatDistribution(0, 1)}
TREE = Tree(SPACE)
DESCRIPTION = Description(
    ("maximize", "minimize"), ("accuracy", "stored_bytes"), {"x": "interval(0,1)"}, {"seed": "1", "level": "2"}
)
# Asks for a trial of the study at argv[1] in argv[2], signs it, says so, and waits to be killed.
ASK = """
import sys, time
from functools import partial
from pathlib import Path
from optuna.samplers import RandomSampler
sys.path.insert(0, sys.argv[3])
from test_study import DESCRIPTION, TREE
from wavesweep.runtime.study_storage import open_storage
from wavesweep.sweep.search.study import joined
opened = partial(open_storage, sys.argv[1])
with joined("study", Path(sys.argv[2]), opened, lambda begun: RandomSampler(seed=begun[0]), DESCRIPTION) as study:
    with study.locked():
        print(study.ask(TREE).number, flush=True)
    time.sleep(600)
"""


@pytest.fixture(params=["sqlite", "journal"])
def join(request, tmp_path):
    """Enter the study as one more process of it: `join()` is a context."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    url = storage_url(None if request.param == "sqlite" else f"journal://{tmp_path / 'journal.log'}", tmp_path)

    def enter(description=DESCRIPTION):
        opened = partial(open_storage, url)
        return joined("study", tmp_path, opened, lambda begun: RandomSampler(seed=begun[0]), description)

    enter.url, enter.directory = url, tmp_path
    return enter


def signed(study, **attributes):
    trial = study.ask(TREE)
    for name, value in attributes.items():
        trial.set_user_attr(name, value)
    return trial


def states(study):
    return [trial.state for trial in study.study.get_trials()]


def test_a_lost_trial_is_put_back_once_and_dropped_after_its_second_crash(join):
    with join() as first:
        params = signed(first, key="a").params
    for attempt in (1, 2):
        with join() as study:  # on entry
            assert states(study).count(TrialState.RUNNING) == 0
            assert study.counts() == Counts(crashed=attempt)
            assert states(study).count(TrialState.WAITING) == (attempt == 1)
            assert study.keys_taken() == {}
            if attempt == 1:
                again = signed(study, key="a")
                assert again.params == params
                assert states(study) == [TrialState.FAIL, TrialState.RUNNING]


def test_a_trial_that_lacked_memory_twice_has_failed(join):
    with join() as study:
        first = signed(study, key="a")
        study.requeue(first.number, crashed=True, error="out of memory")
        assert study.counts() == Counts(crashed=1)
        again = signed(study, key="a")
        assert again.params == first.params
        study.requeue(again.number, crashed=True, error="out of memory")
        assert study.counts() == Counts(crashed=1, failed=1)
        assert states(study).count(TrialState.WAITING) == 0
        assert study.keys_taken() == {"a": again.number}
        assert study.requeue_failed() == 1


def test_failed_trials_are_put_back_on_request_and_count_no_more(join):
    with join() as study:
        done, failed, wrong = signed(study, key="a"), signed(study, key="b"), signed(study)
        study.tell(done.number, [0.5, 100.0])
        study.tell_failed(failed.number, error="no space left")
        study.tell_failed(wrong.number, error="a setting is wrong")  # which it stays: it has no key
        assert study.counts() == Counts(complete=1, failed=2)
        assert study.requeue_failed() == 1
        assert study.requeue_failed() == 0  # it waits already
        assert study.counts() == Counts(complete=1, failed=1, crashed=1)
        assert study.keys_taken() == {"a": done.number}
        assert len(visited(study.study.get_trials())) == 2
        again = signed(study, key="b")
        assert again.params == failed.params
        study.tell_failed(again.number, error="still none")
        assert study.counts() == Counts(complete=1, failed=2, crashed=1)
        assert study.requeue_failed() == 1


def test_a_trial_that_was_told_is_not_touched_by_later_processes(join):
    with join() as study:
        study.tell(signed(study, key="a").number, [0.5, 100.0])
    with join() as study:
        assert study.requeue_lost() == 0
        assert study.counts() == Counts(complete=1)
        assert study.study.best_trials[0].values == [0.5, 100.0]


def test_a_trial_without_an_owner_is_lost_as_its_process_was_killed_before_it_signed(join):
    with join() as study:
        asked = study.study.ask(SPACE)
        study.enqueue({"x": 0.25})
        popped = study.study._pop_waiting_trial_id()  # and killed before it has parameters
        assert popped is not None
    with join() as study:
        assert study.counts() == Counts(crashed=2)
        assert {signed(study).params["x"] for _ in range(2)} == {asked.params["x"], 0.25}


def test_leaving_puts_back_without_counting_a_crash(join):
    with join() as study:
        params = [signed(study, key="a").params, study.study.ask(SPACE).params]  # the second is not signed yet
        study.leave()
        for _ in range(3):
            assert study.counts().running == 0
            again = [signed(study, key="a") for _ in params]
            assert [one.params for one in again] == params
            assert [one.user_attrs["attempt"] for one in again] == [1, 1]
            study.leave()
        assert states(study).count(TrialState.WAITING) == 2


def test_of_two_processes_neither_takes_the_trials_of_the_other_for_lost(join):
    with join() as first, join() as second:
        assert first.owner != second.owner
        assert not first.is_alone()
        mine, others = signed(first, key="a"), signed(second, key="b")
        assert first.requeue_lost() == second.requeue_lost() == 0
        assert first.counts() == second.counts() == Counts(running=2)
        second.leave()
        assert first.counts() == Counts(running=1, crashed=1)
        assert signed(first).params == others.params
        first.tell(mine.number, [0.1, 1.0])
    assert not list(join.directory.glob("processes/*"))


def test_a_process_that_left_is_no_longer_there(join):
    with join() as first:
        with join():
            assert not first.is_alone()
        assert first.is_alone()


@pytest.mark.integration
def test_the_trial_of_a_killed_process_is_put_back_by_one_that_lives(join):
    arguments = [join.url, str(join.directory), os.path.dirname(__file__)]  # noqa: PTH120
    with join() as study:
        with subprocess.Popen([sys.executable, "-c", ASK, *arguments], stdout=subprocess.PIPE, text=True) as process:
            try:
                number = int(process.stdout.readline())
                assert not study.is_alone()
                assert study.requeue_lost() == 0
                assert study.counts() == Counts(running=1)
            finally:
                process.kill()
        assert study.is_alone()
        assert study.requeue_lost() == 1
        assert study.study.get_trials()[number].user_attrs["crash"] == "its process ended"
        assert study.counts() == Counts(crashed=1)
        assert [path.stem for path in join.directory.glob("processes/*.lock")] == [study.owner]


def test_a_process_of_a_machine_without_shared_files_is_taken_to_live(join):
    with join() as study:
        signed(study, owner="elsewhere_1_abc")
        signed(study, owner=f"{study.owner.partition('_')[0]}_1_abc")
        assert study.requeue_lost() == 1
        assert study.counts() == Counts(running=1, crashed=1)


def test_counts_and_keys(join):
    with join() as study:
        study.tell(signed(study, key="a").number, [0.1, 1.0])
        study.tell_stopped_early(signed(study, key="b").number, "weak")
        study.tell_failed(signed(study, key="c").number, error="diverged")
        study.tell_failed(signed(study).number, duplicate_of="0")
        study.requeue(signed(study, key="d").number, crashed=True)
        warm = {"warm_start": True, "key": "e"}
        point = {"x": 0.5}
        study.study.add_trial(
            optuna.create_trial(params=point, distributions=SPACE, values=[0.2, 2.0], user_attrs=warm)
        )
        counts = study.counts()
        assert counts == Counts(complete=1, pruned=1, failed=1, crashed=1, warm=1)
        assert counts.ended == 3
        assert study.keys_taken() == {"a": 0, "b": 1, "c": 2, "e": 6}


def test_what_is_told_twice_counts_as_it_was_told_first(join):
    with join() as study:
        number = signed(study, key="a").number
        study.tell(number, [0.1, 1.0])
        study.tell_failed(number, error="too late")
        study.tell_stopped_early(number, "too late")
        study.attribute(number, "cached", True)
        assert study.counts() == Counts(complete=1)
        assert "cached" not in study.study.get_trials()[number].user_attrs


CHANGES = {
    "search.objectives was ['accuracy', 'stored_bytes'], is ['f1', 'stored_bytes']": Description(
        DESCRIPTION.directions, ("f1", "stored_bytes"), DESCRIPTION.space, DESCRIPTION.settings
    ),
    "x was interval(0,1), is interval(0,2)": Description(
        DESCRIPTION.directions, DESCRIPTION.objectives, {"x": "interval(0,2)"}, DESCRIPTION.settings
    ),
    "seed was 1, is not set; wavelet was not set, is haar": Description(
        DESCRIPTION.directions, DESCRIPTION.objectives, DESCRIPTION.space, {"level": "2", "wavelet": "haar"}
    ),
}


@pytest.mark.parametrize("text", CHANGES)
def test_a_study_with_another_description_is_refused_and_left_as_it_is(join, text):
    with join() as study:
        study.tell(signed(study).number, [0.1, 1.0])
    with pytest.raises(SettingsError) as raised, join(CHANGES[text]):
        pass
    assert str(raised.value) == (
        f"search.study=study: exists with other settings: {text}; give the settings it was made with, or another name "
        "(search.study=NAME) for a new study"
    )
    with join() as study:
        assert study.counts() == Counts(complete=1)


def test_a_study_that_somebody_else_made_is_refused(join):
    study = optuna.create_study(study_name="study", storage=open_storage(join.url), directions=["maximize", "minimize"])
    study.ask()
    with pytest.raises(SettingsError, match=r"^search\.study=study: is a study that wavesweep did not make"), join():
        pass


def test_many_processes_enter_and_leave(join):
    with ExitStack() as stack:
        studies = [stack.enter_context(join()) for _ in range(5)]
        numbers = [signed(study).number for study in studies]
        assert numbers == [0, 1, 2, 3, 4]
        assert studies[0].counts() == Counts(running=5)
