"""The command of a record against Hydra: it must compose to the same trial key."""

import json
import shlex
import subprocess
import sys
from dataclasses import asdict

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from hypothesis import example, given, settings
from hypothesis import strategies as st
from omegaconf import open_dict
from records import example as record_of

from wavesweep.analysis.rerun import UnknownSettingsError, command, differences, flat, hydra_value, overrides
from wavesweep.cli.composition import register_configuration, settings_from
from wavesweep.settings.keys import trial_key
from wavesweep.settings.schema import config_directory

LINES = [
    [],
    ["threshold.percentile=92.5", "seed=3", "level=max", "wavelet=haar"],
    ["model=lenet300", "dataset=mnist", "layout=spatial", "method=dct", "compare=[]"],
    ["model=resnet20", "dataset=image_folder", "dataset.path='/some where/it\\'s'", "model.recipe.precision=bfloat16"],
    ["retrain=gradual", "retrain.epochs=8", "retrain.learning_rate=1e-05", "retrain.augment=false"],
    ["retrain=rate", "threshold=none", "quantize=rdo", "quantize.step=0.5", "quantize.rate_weight=0"],
    ["experiment=deep_compression", "stage=coded"],
    ["experiment=rate_lenet5", "retrain.rate_weight=4", "codec=huffman", "shrink=true"],
    ["model=custom", "model.target=a.b.c", "model.arguments={width: 3, names: [1, 'a b']}", "threshold=energy"],
    ["model=torchvision", "model.name=resnet50", "model.weights=DEFAULT", "dataset=image_folder", "dataset.path=in"],
    ["model=torchvision", "model.name=resnet18", "model.recipe.epochs=2", "dataset=cifar10"],
    ["model=custom", "model.target=a.b", "dataset=custom", "dataset.target=a.c", "dataset.arguments={length: 8}"],
    ["layers.overrides=[{match: 'fc1*', percentile: 90}]", "layers.exclude=['*.bias', conv?]"],
]


@pytest.fixture(scope="module")
def compose():
    register_configuration()
    with initialize_config_dir(config_dir=str(config_directory())):
        loader = GlobalHydra.instance().config_loader()

        def composed(lines):
            config = loader.load_configuration("config", list(lines), run_mode=RunMode.RUN)
            with open_dict(config):
                del config["hydra"]
            return settings_from(config)

        yield composed


@pytest.mark.parametrize("lines", LINES, ids=" ".join)
def test_the_command_gives_the_same_key(compose, lines):
    settings = compose(lines)
    recorded = json.loads(json.dumps(asdict(settings)))
    words = shlex.split(command(recorded))
    assert words[:3] == ["python", "-m", "wavesweep"]
    assert trial_key(compose(words[3:])) == trial_key(settings)
    assert bool(differences(recorded)) == bool(words[3:])


def test_a_record_gives_its_own_settings(compose):
    recorded = record_of({"wavelet": "db4", "threshold.percentile": 90.0, "quantize.bits": 4})["settings"]
    composed = flat(asdict(compose(overrides(recorded))))
    wanted = {name: value for name, value in flat(recorded).items() if not name.startswith("paths.")}
    # The record is older than some settings.
    assert {name: composed[name] for name in wanted} == wanted


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["quantize=rdo"], ["quantize=rdo"]),
        (["threshold=none"], ["threshold=none"]),
        (["threshold.percentile=90"], ["threshold.percentile=90.0"]),
        (["model=lenet300", "dataset=mnist"], ["model=lenet300", "dataset=mnist"]),
        (["paths.outputs=elsewhere", "paths.data=there"], ["paths.data=there"]),
    ],
)
def test_the_command_is_the_short_one(compose, lines, expected):
    assert overrides(asdict(compose(lines))) == expected


def test_settings_of_another_version_are_named():
    with pytest.raises(UnknownSettingsError, match=r"does not know quantize\.novelty"):
        overrides({"quantize": {"novelty": 1}})


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**9), 10**9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", exclude_characters="$", exclude_categories=("C", "Z")) | st.just(" ")),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=50, deadline=None)
@given(VALUES)
@example("it's \\")
@example("\\'")
@example("null")
@example("90")
@example("a,b=c{d}[e]")
@example("")
def test_hydra_reads_a_value_as_it_was(value):
    parsed = OverridesParser.create().parse_override(f"x={hydra_value(value)}").value()
    assert plain(parsed) == value


def plain(value):
    """Hydra's quoted strings as plain ones."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value.text if hasattr(value, "text") else value


def test_analyses_import_no_torch():
    names = (
        "analysis.rerun, analysis.workloads, analysis.page, analysis.report, analysis.charts.pareto, analysis.figures,"
        " analysis.study, analysis.study_tables, analysis.catalogue.all"
    )
    done = subprocess.run([sys.executable, "-c", f"import sys, {names}; sys.exit('torch' in sys.modules)"], check=False)
    assert done.returncode == 0
