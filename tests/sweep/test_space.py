"""The space of a search: what overrides span, and what they cannot."""

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from optuna import create_study
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import RandomSampler

from wavesweep.cli.composition import register_configuration
from wavesweep.cli.search_space import parse_space
from wavesweep.errors import SettingsError
from wavesweep.settings.schema import config_directory
from wavesweep.sweep.search.conditions import Tree
from wavesweep.sweep.search.values import contains, text_of

PARSER = OverridesParser.create()


def space_of(*lines):
    return parse_space(PARSER.parse_overrides(list(lines)))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("wavelet=haar,db2", CategoricalDistribution(("haar", "db2"))),
        ("wavelet=choice(haar,db2)", CategoricalDistribution(("haar", "db2"))),
        ("level=1,2,max", CategoricalDistribution((1, 2, "max"))),
        ("quantize.step=null,0.05", CategoricalDistribution((None, 0.05))),
        ("model.checkpoint='null',a.pt", CategoricalDistribution(("'null'", "a.pt"))),
        ("shrink=true,false", CategoricalDistribution((True, False))),
        ("threshold.percentile=interval(50,95)", FloatDistribution(50, 95)),
        ("quantize.step=tag(log,interval(0.001,0.1))", FloatDistribution(0.001, 0.1, log=True)),
        ("level=int(interval(1,4))", IntDistribution(1, 4)),
        ("level=range(1,5)", IntDistribution(1, 4)),
        ("quantize.bits=range(2,9,2)", IntDistribution(2, 8, step=2)),
        ("threshold.percentile=range(40,99.5,0.5)", FloatDistribution(40, 99, step=0.5)),
    ],
)
def test_what_each_form_spans(line, expected):
    space = space_of(line)
    assert space.distributions == {line.partition("=")[0]: expected}
    assert space.fixed == ()


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("wavelet=haar,db2", "choice(haar,db2)"),
        ("quantize.step=null,0.05", "choice(null,0.05)"),
        ("level=range(1,5)", "interval(1,4)"),
        ("threshold.percentile=range(40,99.5,0.5)", "range(40.0,99.0,0.5), its end included"),
        ("threshold.percentile=interval(50,95)", "interval(50.0,95.0)"),
        ("quantize.step=tag(log,interval(0.001,0.1))", "tag(log,interval(0.001,0.1))"),
    ],
)
def test_a_distribution_is_written_as_on_the_command_line(line, text):
    (one,) = space_of(line).distributions.values()
    assert text_of(one) == text


def test_the_last_override_of_a_key_counts():
    space = space_of("level=range(1,5)", "wavelet=haar", "level=choice(2,3)", "wavelet=db2,db4")
    assert space.distributions == {
        "level": CategoricalDistribution((2, 3)),
        "wavelet": CategoricalDistribution(("db2", "db4")),
    }
    assert space.fixed == ()


def test_one_value_takes_a_key_out_of_the_space():
    space = space_of("level=range(1,5)", "wavelet=haar,db2", "level=2", "+wavelet=db4,db8", "seed=1")
    assert list(space.distributions) == ["wavelet"]
    assert [one.line for one in space.fixed] == ["level=2", "seed=1"]
    assert space.lines({"wavelet": "db4"}) == ("level=2", "seed=1", "wavelet=db4")


def test_the_space_of_the_configuration_is_what_its_comments_say():
    register_configuration()
    with initialize_config_dir(str(config_directory())):
        params = compose("config", ["search=pareto"], return_hydra_config=True).hydra.sweeper.params
    space = space_of(*(f"{key}={value}" for key, value in params.items())).distributions
    assert space["level"] == IntDistribution(1, 3)
    assert space["quantize.step"] == FloatDistribution(0.005, 2.0, log=True)
    assert space["retrain.rate_weight"].log
    assert "rdo" in space["quantize"].choices
    assert {"magnitude", "wavelet", "dct"} == set(space["method"].choices)
    assert {"none", "finetune", "rate"} == set(space["retrain"].choices)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("threshold.percentile=interval(9,5)", "low <= high"),
        ("level=range(5,1)", "at least one value"),
        ("wavelet=glob(*)", "choice(A,B,...)"),
        ("level=choice(1,2,1)", "twice"),
        ("search.n_trials=10,20", "cannot be searched"),
        ("search=pareto,none", "cannot be searched"),
        ("paths.outputs=a,b", "cannot be searched"),
        ("hydra/launcher=basic,joblib", "cannot be searched"),
        ("device=cpu,cuda", "cannot be searched"),  # and what follows cannot change a result
        ("progress=true,false", "cannot be searched"),
        ("retry_failed=true,false", "cannot be searched"),
    ],
)
def test_what_cannot_be_searched_is_one_line_that_names_the_key(line, reason):
    with pytest.raises(SettingsError) as raised:
        space_of(line)
    assert str(raised.value).startswith(f"{line}: ")
    assert reason in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_space_without_anything_that_varies_is_refused():
    with pytest.raises(SettingsError, match=r"^search=pareto: has nothing to vary; give a key such as"):
        space_of("level=2", "wavelet=haar")


def test_overrides_set_the_values_as_a_user_would_write_them():
    space = space_of("model.checkpoint='a,b.pt',c.pt", "shrink=true,false", "threshold.percentile=range(0,1,0.1)")
    lines = space.lines({"model.checkpoint": "a,b.pt", "shrink": True, "threshold.percentile": 3 * 0.1})
    parsed = {one.key_or_group: one.value() for one in PARSER.parse_overrides(list(lines))}
    # As floats are, 3 * 0.1 is 0.30000000000000004, which would be another trial than the 0.3 of a grid.
    assert parsed == {"model.checkpoint": "a,b.pt", "shrink": True, "threshold.percentile": 0.3}


def test_null_reaches_the_setting_as_null():
    space = space_of("quantize.step=null,0.05")
    (line,) = space.lines({"quantize.step": None})
    assert PARSER.parse_override(line).value() is None


def test_a_list_of_lists_reaches_the_setting_as_lists():
    space = space_of("layers.include=choice([fc1*],[fc1*,fc2*])")
    (line,) = space.lines({"layers.include": "[fc1*,fc2*]"})
    assert PARSER.parse_override(line).value() == ["fc1*", "fc2*"]


def test_probes_have_every_choice_and_both_ends():
    probes = Tree(
        space_of("wavelet=haar,db2,db4", "level=range(1,5)", "seed=int(interval(3,3))").distributions
    ).probes()
    assert {probe["wavelet"] for probe in probes} == {"haar", "db2", "db4"}
    assert {probe["level"] for probe in probes} == {1, 4}
    assert {probe["seed"] for probe in probes} == {3}
    assert all(probe.keys() == {"wavelet", "level", "seed"} for probe in probes)


@pytest.mark.parametrize(
    ("line", "inside", "outside"),
    [
        ("wavelet=haar,db2", ["haar"], ["db4", None, 1]),
        ("level=1,max", [1, "max"], [2, "min", True]),
        ("quantize.step=null,0.05", [None, 0.05], [0.06, "null"]),
        ("threshold.percentile=60,80", [60, 80.0], [70.0, "60", None]),
        ("shrink=true,false", [True, False], [1, 0, None]),
        ("level=range(1,5)", [1, 4], [0, 5, 2.5, "max", None]),
        ("threshold.percentile=range(40,41,0.1)", [40, 40.0, 40.3, 40.9], [40.35, 41.0, 39.9, None, "x"]),
        ("threshold.percentile=interval(50,95)", [50, 72.123, 95.0], [49.999, 95.1, None]),
    ],
)
def test_contains(line, inside, outside):
    (one,) = space_of(line).distributions.values()
    assert [value for value in inside if not contains(one, value)] == []
    assert [value for value in outside if contains(one, value)] == []


numbers = st.floats(0.001, 1000).map(lambda value: round(value, 3))
lines = st.one_of(
    st.lists(st.sampled_from(["haar", "db2", "sym4", "7", "true", "3.5"]), min_size=2, unique=True).map(",".join),
    st.tuples(numbers, numbers).map(lambda pair: f"interval({min(pair)},{max(pair)})"),
    st.tuples(numbers, numbers).map(lambda pair: f"tag(log,interval({min(pair)},{max(pair)}))"),
    st.tuples(st.integers(-9, 9), st.integers(1, 40), st.integers(1, 7)).map(
        lambda three: f"range({three[0]},{three[0] + three[1]},{three[2]})"
    ),
    st.tuples(numbers, st.integers(1, 40), numbers).map(
        lambda three: f"range({three[0]},{round(three[0] + three[1] * three[2], 3)},{three[2]})"
    ),
)


@given(lines, st.integers(0, 1000))
def test_every_sampled_point_is_in_the_space_as_a_setting_too(values, seed):
    space = space_of(f"key={values}")
    study = create_study(sampler=RandomSampler(seed=seed))
    for _ in range(3):
        params = study.ask(space.distributions).params
        assert contains(space.distributions["key"], params["key"])
        (line,) = space.lines(params)
        assert contains(space.distributions["key"], PARSER.parse_override(line).value())


@pytest.mark.parametrize(
    "text",
    ["net (1).pt", "a=b.pt", "it's.pt", "back\\", "x,y", "8", "null", "true", "1e3", "choice(1,2)", "", " a", "db2"],
)
def test_texts_are_read_back_as_they_were_given(text):
    inner = text.replace("\\", "\\\\") if text.endswith("\\") else text
    given = "'" + inner.replace("'", "\\'") + "'"
    space = space_of(f"model.checkpoint=choice({given},'other one')")
    (one,) = space.distributions.values()
    assert one.choices == (text, "other one")
    (line,) = space.lines({"model.checkpoint": text})
    assert PARSER.parse_override(line).value() == text
