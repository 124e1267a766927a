"""The keys that a point of a search takes: those that have an effect in it and are not refused in it."""

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from optuna import create_study
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.samplers import RandomSampler

from wavesweep.cli.composition import Composer, register_configuration
from wavesweep.cli.hydra_internals import configuration_loader
from wavesweep.cli.search_space import parse_space
from wavesweep.errors import SettingsError
from wavesweep.settings.effective import unused_notes
from wavesweep.settings.rules import check
from wavesweep.settings.schema import config_directory
from wavesweep.sweep.search.conditions import Tree
from wavesweep.sweep.search.space import Points
from wavesweep.sweep.search.values import ends, suggested


def parsed(lines):
    return OverridesParser.create().parse_overrides(list(lines))


@pytest.fixture(scope="module")
def compose():
    """Settings that overrides make, not checked: each combination of groups is composed once for all tests."""
    register_configuration()
    loader = configuration_loader(config_directory())
    master = loader.load_configuration("config", [], run_mode=RunMode.MULTIRUN)
    return Composer(loader, master).settings


@pytest.fixture
def points_of(compose):
    return lambda *lines, defaults=0: Points.checked(parse_space(parsed(lines), defaults), compose)


def keys(points, **given):
    """The keys that a point with these values takes, the first value of all others chosen."""
    values = {key: ends(one)[0] for key, one in points.tree.distributions.items()}
    values |= {key.replace("__", "."): value for key, value in given.items()}
    return set(points.tree.walk(values.__getitem__))


METHODS = ("level=1,2", "wavelet=haar,db2", "layout=auto,channel", "method=magnitude,wavelet,dct", "compare=[]")


def test_a_wavelets_level_is_no_dimension_of_a_magnitude_trial_whatever_the_order_of_the_keys(points_of):
    points = points_of(*METHODS)
    assert keys(points, method="magnitude") == {"method"}
    assert keys(points, method="dct") == {"method", "layout"}
    assert keys(points, method="wavelet") == {"method", "layout", "wavelet", "level"}
    assert len(list(points.tree.leaves())) == 1 + 2 + 8


def test_what_another_key_refuses_is_left_out(points_of):
    # rate has a quantiser of its own, whose steps it learns
    points = points_of(
        "retrain=none,rate", "quantize=uniform,rdo", "quantize.step=0.1,0.2", "retrain.rate_weight=1,2", "compare=[]"
    )
    assert keys(points, retrain="rate") == {"retrain", "retrain.rate_weight"}
    assert keys(points, retrain="none") == {"retrain", "quantize", "quantize.step"}


def test_an_effect_that_depends_on_the_value_itself_counts(points_of):
    weighed = ("quantize=rdo", "threshold=none")
    assert "quantize.dead_zone" in keys(points_of(*weighed, "seed=1,2", "quantize.dead_zone=1.0,1.5"))
    assert "quantize.dead_zone" not in keys(points_of(*weighed, "seed=1,2", "quantize.dead_zone=1.0,1.2"))


def test_null_that_the_user_gives_varies_beside_the_default_quantiser(points_of):
    space = ("quantize=choice(rdo)", "quantize.step=tag(log,interval(0.01,0.1))", "method=magnitude,dct")
    points = points_of(*space, "quantize.step=null,0.05", "compare=[]", defaults=len(space))
    found = [points.settings(one).quantize for one in points.tree.leaves() if one["method"] == "magnitude"]
    assert [(one.step, one.importance) for one in found] == [(None, "none"), (0.05, "second_order")]


def test_a_key_that_nothing_takes_is_named_where_the_user_gave_it(points_of):
    space = ("level=1,2", "wavelet=haar,db2")
    points = points_of(*space, "wavelet=db2,db4", "method=magnitude", "seed=1,2", "compare=[]", defaults=len(space))
    (note,) = points.notes()
    assert note.startswith("wavelet: does not vary; it needs method=wavelet")


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        (("level=range(0,4)", "seed=1,2"), "level=0: "),
        (("wavelet=haar,foo", "method=magnitude,wavelet"), "wavelet=foo: "),
        (("quantize=kmeans", "quantize.max_drop=1,2"), "quantize.max_drop=1"),
    ],
)
def test_what_is_refused_everywhere_is_an_error_at_the_start(points_of, lines, text):
    with pytest.raises(SettingsError, match=text):
        points_of(*lines)


@pytest.mark.integration  # composes many combinations of groups
def test_points_of_the_default_space_are_accepted_and_have_no_dead_settings(points_of):
    content = yaml.safe_load((config_directory() / "search" / "pareto.yaml").read_text())
    params = content["hydra"]["sweeper"]["params"]
    points = points_of(*(f"{key}={value}" for key, value in params.items()), "compare=[]")
    study = create_study(sampler=RandomSampler(seed=0))
    seen = set()
    for _ in range(8):
        trial = study.ask()
        taken = points.tree.walk(lambda key, trial=trial: suggested(trial, key, points.tree.distributions[key]))
        settings = points.settings(taken)
        check(settings)
        assert not [note for note in unused_notes(settings) if note.partition(":")[0] in taken]
        assert ("level" in taken) == (settings.method.name == "wavelet")
        assert ("layout" in taken) == (settings.method.name != "magnitude")
        assert ("retrain.rate_weight" in taken) == (settings.retrain.name == "rate")
        assert ("quantize.step" in taken) == (settings.retrain.name != "rate")
        seen.add((settings.method.name, settings.retrain.name))
    assert len(seen) > 3


def test_a_space_is_finite_where_no_point_takes_its_interval(points_of):
    points = points_of("level=1,2", "retrain.rate_weight=interval(1,2)", "compare=[]")
    assert points.tree.is_finite
    assert list(points.tree.leaves()) == [{"level": 1}, {"level": 2}]
    assert not points_of("level=1,2", "quantize.step=interval(0.1,0.2)", "compare=[]").tree.is_finite


def test_a_tree_without_a_rule_has_every_point():
    tree = Tree({"a": CategoricalDistribution((1, 2)), "b": IntDistribution(0, 2)})
    assert [tuple(point.values()) for point in tree.leaves()] == [(a, b) for a in (1, 2) for b in (0, 1, 2)]
    assert tree.reduced({"b": 1, "c": 3, "a": 2}) == {"a": 2, "b": 1}
    assert tree.reduced({"a": 2}) is None
