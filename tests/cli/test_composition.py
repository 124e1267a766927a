"""The fast composition of grid points against Hydra's own, the files against the schema, and errors in one line."""

from contextlib import contextmanager
from copy import deepcopy

import pytest
import pywt
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import open_dict

from wavesweep.cli.composition import Composer, compose_settings, explain, register_configuration, settings_from
from wavesweep.errors import SettingsError
from wavesweep.settings.registry import Layout, Method, options, rows
from wavesweep.settings.rules import check
from wavesweep.settings.schema import Settings, config_directory

LAYOUTS = tuple(rows(Layout))
METHODS = tuple(rows(Method))

GROUPS = ("model", "dataset", "task", "method", "threshold", "retrain", "quantize", "codec")
OPTIONS = [(group, name) for group in GROUPS for name in options(group)]


class Hydra:
    """Both ways to compose: `slow` is Hydra's own from the files, `fast` is the Composer's."""

    def __init__(self, *lines):
        self.loader = GlobalHydra.instance().config_loader()
        self.master = self.loader.load_configuration("config", list(lines), run_mode=RunMode.MULTIRUN)
        self.parser = OverridesParser.create(config_loader=self.loader)
        self.composer = Composer(self.loader, self.master)

    def slow(self, lines):
        config = self.loader.load_sweep_config(self.master, list(lines))
        with open_dict(config):
            del config["hydra"]
        return settings_from(config)

    def fast(self, lines):
        return self.composer.settings(lines)


@contextmanager
def one_line(key):
    """The block's error is explained in one line that begins with `key`; the caller gets the line."""
    found = []
    with pytest.raises(Exception) as raised:  # noqa: PT011 - Hydra's errors have no common base
        yield found
    found.append(explain(raised.value))
    assert "\n" not in found[0]
    assert found[0].startswith(key)


@pytest.fixture(scope="module")
def hydra():
    register_configuration()
    with initialize_config_dir(config_dir=str(config_directory())):
        yield Hydra()


VALUES = {
    "seed": st.integers(0, 2**31).map(str) | st.just("007"),
    "level": st.sampled_from(["1", "5", "max", "null", "1.5", "true", "'3'", "[1,2]"]),
    "wavelet": st.sampled_from(["haar", "bior2.2", "'sym4'", "1", "no such"]),
    "layout": st.sampled_from(LAYOUTS),
    "compare": st.sampled_from(["[]", "[unit]", "[magnitude, random]", "['dct']"]),
    "progress": st.sampled_from(["true", "false", "yes", "0"]),
    "threshold.percentile": st.sampled_from(["0", "80", "99.9", "1e1", "nan", "inf", "'50'"]),
    "threshold.scope": st.sampled_from(["layer", "global", "''"]),
    "threshold.atom_norm": st.sampled_from(["true", "no"]),
    "model.checkpoint": st.sampled_from(["null", "a.pt", "'/with space/b.pt'", "3"]),
    "model.target": st.sampled_from(["null", "package.module.factory"]),
    "model.recipe.epochs": st.integers(-1, 50).map(str),
    "model.recipe.learning_rate": st.sampled_from(["1", "0.1", "1e-3"]),
    "model.recipe": st.sampled_from(["{epochs: 4}", "{epochs: 5, momentum: 0.5}", "{}"]),
    "model.arguments": st.sampled_from(["{}", "{hidden: [32]}", "{hidden: [8, 4], bias: false}"]),
    "model.arguments.hidden": st.sampled_from(["[16]", "null"]),
    "dataset.path": st.sampled_from(["null", "/data/birds"]),
    "dataset.validation_fraction": st.sampled_from(["0.2", "1"]),
    "layers.types": st.sampled_from(["[conv]", "[]", "[linear, embedding]"]),
    "layers.include": st.sampled_from(["['fc*']", "[a, b]"]),
    "layers.exclude": st.sampled_from(["[]", "[fc1.weight]"]),
    "layers.overrides": st.sampled_from(
        [
            "[]",
            "[{match: fc1*, percentile: 90}]",
            "[{match: 'fc1*', level: 1, wavelet: haar}, {match: fc2*, percentile: null, level: max}]",
        ]
    ),
    "paths.outputs": st.sampled_from(["/somewhere", "out", "${paths.data}"]),
    "device": st.sampled_from(["cpu", "cuda"]),
    "model": st.sampled_from(["mlp", "resnet20", "custom"]),
    "dataset": st.sampled_from(["digits", "mnist", "image_folder"]),
    "method": st.sampled_from(METHODS),
    "threshold": st.sampled_from(["energy", "absolute", "universal"]),
    "retrain": st.sampled_from(["none", "rate", "gradual"]),
    "quantize": st.sampled_from(["none", "kmeans", "rdo"]),
}
LINES = st.sampled_from(sorted(VALUES)).flatmap(lambda key: VALUES[key].map(lambda value: f"{key}={value}"))


def same(first, second):
    """Equal, also where both hold NaN; and of the same types, because keys tell 1 from true."""
    return repr(first) == repr(second)


@pytest.mark.integration
@settings(deadline=None, max_examples=40)
@given(lines=st.lists(LINES, max_size=6))
def test_the_fast_composition_is_hydras_own(hydra, lines):
    assert same(hydra.fast(lines), hydra.slow(lines))


@pytest.mark.parametrize(
    "lines",
    [
        ["level=1", "level=2"],
        ["model.recipe={epochs: 4}", "model.recipe.epochs=7"],
        ["model.recipe.epochs=7", "model.recipe={epochs: 4}"],
        ["model.arguments={hidden: [8]}", "model.arguments.hidden=[16]"],
        ["model.arguments.hidden=[16]", "model.arguments={hidden: [8]}"],
        ["compare=[dct]", "compare.0=unit"],
        ["level=2", "++level=4"],
        ["threshold.energy=0.5", "threshold=energy"],
        ["method=dct", "retrain=rate", "quantize=none", "model=lenet300", "retrain.epochs=7"],
        ["model=lenet300", "model=mlp", "quantize=rdo"],
        ["level=1", "quantize=kmeans", "codec=huffman", "threshold=absolute", "level=2"],
        ["seed=3", "level=${seed}"],
    ],
    ids=" ".join,
)
def test_the_last_of_several_overrides_wins_as_with_hydra(hydra, lines):
    assert same(hydra.fast(lines), hydra.slow(lines))


def test_points_do_not_share_what_they_hold(hydra):
    first = hydra.fast(["seed=1"])
    untouched = deepcopy(first)
    second = hydra.fast(["seed=1"])
    second.compare.append("unit")
    second.model.arguments["hidden"] = [1]
    assert same(first, untouched)
    assert same(hydra.fast(["seed=1"]), untouched)


def test_points_of_the_same_groups_are_composed_from_files_once(hydra, monkeypatch):
    composer, calls = Composer(hydra.loader, hydra.master), []
    original = hydra.loader.load_sweep_config
    monkeypatch.setattr(hydra.loader, "load_sweep_config", lambda *args: calls.append(1) or original(*args))
    for model in ("lenet5", "mlp"):
        for level in range(1, 6):
            composer.settings([f"model={model}", f"level={level}"])
    assert len(calls) == 2


def test_the_files_hold_the_defaults_of_the_schema(hydra):
    assert same(hydra.slow([]), Settings())


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_of_every_group_composes_and_is_accepted(hydra, group, option):
    more = [f"{group}.target=package.module.factory"] if option == "custom" else []
    more += ["model.recipe.epochs=1"] if group == "model" and option in ("custom", "torchvision") else []
    chosen = hydra.slow([f"{group}={option}", *more])
    check(chosen)
    # An option is named after what it chooses, or makes several settings at once.
    name = chosen.threshold.rule if group == "threshold" else getattr(chosen, group, chosen.model).name
    several = {
        ("threshold", "none"): "percentile",
        ("quantize", "rdo"): "uniform",
        ("model", "torchvision"): "resnet18",
    }
    assert name == several.get((group, option), option)
    assert same(hydra.fast([f"{group}={option}", *more]), chosen)


@pytest.mark.usefixtures("hydra")
@pytest.mark.parametrize("name", [file.stem for file in (config_directory() / "experiment").glob("*.yaml")])
def test_every_experiment_composes_and_is_accepted(name):
    # What an experiment sweeps belongs to the sweep's own configuration, as on the command line.
    line = f"experiment={name}"
    study = Hydra(line)
    chosen = study.slow([line])
    check(chosen)
    assert same(study.fast([line, "seed=5", "level=1"]), study.slow([line, "seed=5", "level=1"]))
    if name != "sensitivity":  # which is another sweeper
        assert not same(chosen, Settings())


@pytest.mark.parametrize("name", pywt.wavelist(kind="discrete"))
def test_every_discrete_wavelet_can_be_given(hydra, name):
    chosen = hydra.fast([f"wavelet={name}"])
    check(chosen)
    assert chosen.wavelet == name


# Keys of a type that "banana" is not, and what they are said to be.
TYPED = [
    ("seed", "an integer >= 0"),
    ("progress", "true or false"),
    ("retry_failed", "true or false"),
    ("threshold.percentile", "a number from 0 to 100"),
    ("threshold.atom_norm", "true or false"),
    ("model.recipe.epochs", "an integer >= 0"),
    ("model.recipe.learning_rate", "a number > 0"),
    ("model.recipe.augment", "true or false"),
    ("model.arguments", "a mapping"),
    ("dataset.image_size", "an integer >= 1"),
    ("dataset.validation_fraction", "a number above 0"),
    ("compare", "a list of different methods"),
    ("layers.types", "a list, such as [all], of conv"),
    ("layers.include", "glob patterns"),
    ("layers.overrides", "a list such as"),
]


@pytest.mark.parametrize("way", ["slow", "fast"])
@pytest.mark.parametrize(("key", "allowed"), TYPED)
def test_a_value_of_the_wrong_type_is_one_line_with_what_is_allowed(hydra, way, key, allowed):
    with one_line(f"{key}=banana: must be {allowed}"):
        getattr(hydra, way)([f"{key}=banana"])


@pytest.mark.parametrize("way", ["slow", "fast"])
@pytest.mark.parametrize(
    ("line", "start"),
    [
        ("modle=mlp", "modle: there is no such key; did you mean model?"),
        ("threshold.percentle=80", "threshold.percentle: there is no such key; did you mean threshold.percentile?"),
        ("xyz=1", "xyz: there is no such key; see --help for all keys"),
        ("a.b.c=1", "a.b.c: there is no such key"),
        ("+xyz=1", "xyz: there is no such key"),
        ("++xyz=1", "xyz: there is no such key"),
        ("+threshold.xyz=1", "threshold.xyz: there is no such key"),
        ("+model.recipe.epoch=1", "model.recipe.epoch: there is no such key; did you mean model.recipe.epochs?"),
        ("model.recipe={epoch: 1}", "model.recipe.epoch: there is no such key; did you mean model.recipe.epochs?"),
        ("layers.overrides=[{mach: fc1*}]", "layers.overrides.mach: there is no such key; an override has match, per"),
        ("layers.overrides=[{match: a, percentile: x}]", "layers.overrides=[{match: a, percentile: x}]: must be"),
        ("model=resnet19", "model=resnet19: must be one of custom, densenet100, fashion_cnn, "),
        ("dataset=minst", "dataset=minst: must be one of cifar10, "),
        ("method=wavelets", "method=wavelets: must be one of clamped_wavelet, dct, "),
        ("threshold=top", "threshold=top: must be one of absolute, energy, none, percentile, universal"),
        ("experiment=none_such", "experiment=none_such: must be one of "),
        ("hydra/launcher=slurm", "hydra/launcher=slurm: must be one of basic, "),
        ("model/recipe=fast", "model/recipe: there is no such key"),
        ("seed=1.5", "seed=1.5: must be an integer"),
        ("seed=null", "seed=null: must be an integer"),
        ("wavelet=null", "wavelet=null: must be a discrete wavelet"),
        ("layers=3", "layers=3: is a group of keys; set one of them"),
        ("model.recipe=3", "model.recipe=3: is a group of keys; set one of them"),
        ("~nothing", "nothing: there is no such key; see --help for all keys"),
        ("+level=4", "Could not append to config. An item is already at 'level'."),
        ("level=${nothing}", "level=${nothing}: key nothing not found"),
    ],
)
def test_a_wrong_override_is_explained_in_one_line(hydra, way, line, start):
    with one_line(start) as text:
        getattr(hydra, way)([line])
    assert len(text[0]) < 500


@pytest.mark.parametrize("line", ["compare=[unit", "wavelet=a=b", "level={", "seed=)", "foo:", "[x"])
def test_an_override_that_cannot_be_parsed_is_shown(hydra, line):
    with one_line(f"{line}: cannot be parsed; write key=value") as text:
        hydra.parser.parse_overrides(["level=1", line, "seed=0"])
    assert "a value with = or other signs in quotes: 'key=\"value\"'" in text[0]


def test_an_override_without_a_value_is_shown(hydra):
    with one_line("wavelet: cannot be parsed; write key=value"):
        hydra.parser.parse_overrides(["wavelet"])


def test_several_values_without_multirun_name_the_flag(hydra):
    with one_line("level=1,2: several values need a sweep; add -m: python -m wavesweep -m level=1,2"):
        hydra.slow(["level=1,2"])


def test_an_error_of_the_package_is_its_own_line():
    assert explain(SettingsError("level", 0, "must be >= 1")) == "level=0: must be >= 1"


def test_an_error_of_the_operating_system_names_the_file():
    text = explain(PermissionError(13, "Permission denied", "/mnt/outputs"))
    assert text == "/mnt/outputs: Permission denied; choose another paths.outputs or mend its permissions"


def test_a_multirun_point_may_add_arguments_of_the_users_own(hydra):
    for lines in (["+model.arguments.width=3"], ["model.arguments.width=3"], ["model.arguments={width: 3}"]):
        assert hydra.fast(lines).model.arguments == {"width": 3}


def test_settings_are_composed_outside_of_any_application(hydra):
    assert same(compose_settings([]), Settings())
    lines = ["model=lenet5", "dataset=mnist", "level=1", "model.arguments={width: 3}"]
    assert same(compose_settings(lines), hydra.slow(lines))
    assert compose_settings(["search=pareto"]).search.name == "pareto"
    assert compose_settings(["experiment=sensitivity", "experiment=rate_lenet5"]).retrain.name == "rate"


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("level=0", "level=0: must be an integer >= 1, or max"),
        ("levle=1", "levle: there is no such key; did you mean level?"),
        ("model=resnet19", "model=resnet19: must be one of custom, "),
        ("level=1,2", "level=1,2: must be one value; call compress for each"),
        ("compare=[unit", "compare=[unit: cannot be parsed; write key=value"),
    ],
)
def test_composing_outside_of_any_application_refuses_in_one_line(line, text):
    with pytest.raises(SettingsError) as raised:
        compose_settings([line])
    assert str(raised.value).startswith(text)
    assert "\n" not in str(raised.value)
