"""Wrong settings of a search: exit status 2, one line that names the key, and nothing made."""

import pytest

pytestmark = pytest.mark.integration

# The arguments, and what the line must hold.
WRONG = {
    "search of no such name": (["search=nosuch"], ["search=nosuch", "none, pareto"]),
    "sampler": (["search.sampler=annealing"], ["search.sampler=annealing", "tpe, gp, nsga2"]),
    "study's name": (["search.study=../x"], ["search.study=../x", "letters, digits"]),
    "objective that is no list": (["search.objectives=f1"], ["search.objectives=f1", "two of accuracy, f1"]),
    "storage": (["search.storage=nonsense"], ["search.storage=nonsense", "sqlite:///PATH, journal:///PATH"]),
    "storage below a file": (["search.storage=journal:///dev/null/a/b"], ["search.storage=journal", "another place"]),
    "early images": (["search.early_images=0"], ["search.early_images=0", "integer >= 1, or null"]),
    "early images of other objectives": (
        ["search.early_images=50", "search.objectives=[accuracy,macs]"],
        ["search.early_images=50", "needs search.objectives of accuracy and one of stored_bytes, sparsity"],
    ),
    "drop": (["search.constraints.max_drop=-1"], ["search.constraints.max_drop=-1", "number >= 0, or null"]),
    "misspelt key": (["search.n_trails=5"], ["search.n_trails", "did you mean search.n_trials?"]),
    "nothing varies": (
        [
            *("method=magnitude", "wavelet=haar", "level=1", "layout=auto", "threshold.percentile=80", "quantize=rdo"),
            *(
                "quantize.step=0.1",
                "retrain=none",
                "retrain.epochs=5",
                "retrain.rate_weight=1",
                "retrain.group_weight=0",
            ),
        ],
        ["search=pareto", "nothing to vary"],
    ),
    "wavelet among choices": (["wavelet=choice(haar,foo)"], ["wavelet=foo", "discrete wavelet"]),
    "end of a range": (["level=range(0,4)"], ["level=0", ">= 1, or max"]),
    "interval upside down": (["threshold.percentile=interval(90,50)"], ["threshold.percentile=interval(90,50)", "low"]),
    "choice without values": (["level=choice()"], ["choice()", "empty"]),
    "key that is not there": (["levle=choice(1,2)"], ["levle", "did you mean level?"]),
    "group's option": (["model=choice(mlp,nosuch)"], ["model=nosuch", "lenet300"]),
    "what is the search's own": (["search.seed=1,2"], ["search.seed=1,2", "cannot be searched"]),
    "what changes no result": (["device=cpu,cuda"], ["device=cpu,cuda", "cannot be searched"]),
    "grid over an interval": (
        ["search.sampler=grid", "retrain=none", "quantize.step=0.1", "threshold.percentile=interval(50,90)"],
        ["search.sampler=grid", "needs a finite space, threshold.percentile", "range(START,STOP,STEP)"],
    ),
    "points to begin with": (["search.start=[dct]"], ["search.start=", "must be a list of points"]),
    "checkpoint among choices": (
        ["model.checkpoint=choice(a.pt,b.pt)"],
        ["model.checkpoint=a.pt"],
    ),
    "data set among choices": (["dataset=choice(digits,image_folder)"], ["dataset.path", "set dataset.path="]),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_setting_is_refused_in_one_line_and_nothing_is_made(tmp_path, forked, name):
    arguments, expected = WRONG[name]
    outcome = forked.run(tmp_path, "-m", "search=pareto", *arguments)
    assert outcome.status == 2, outcome
    assert outcome.stdout == ""
    assert len(outcome.stderr.splitlines()) == 1, outcome.stderr
    for text in expected:
        assert text in outcome.error
    for made in ("baselines", "runs", "study.db", "front.json"):
        assert not list(tmp_path.glob(f"**/{made}"))


def test_a_search_without_m_says_what_is_missing(tmp_path, forked):
    outcome = forked.run(tmp_path, "search=pareto")
    assert outcome.status == 2
    assert outcome.stderr.splitlines() == [
        "error: search=pareto: is a sweep; add -m: python -m wavesweep -m search=..."
    ]
    assert not list(tmp_path.glob("outputs/*/*"))
