"""Wrong settings: exit status 2, one line that names key, value and what is allowed, and nothing trained."""

import itertools

import pytest
from command_line import run_together

pytestmark = pytest.mark.integration

# The arguments, and what the line must hold: the key with the value, and something of what is allowed or to do.
WRONG = {
    "unknown wavelet": (["wavelet=bior2.3"], ["wavelet=bior2.3", "discrete wavelet", "did you mean bior"]),
    "no wavelet": (["wavelet=null"], ["wavelet=null", "discrete wavelet"]),
    "level that is a word": (["level=deep"], ["level=deep", "integer >= 1, or max"]),
    "percentile not a number": (["threshold.percentile=nan"], ["threshold.percentile=nan", "from 0 to 100"]),
    "unknown model": (["model=nosuch"], ["model=nosuch", "mlp", "lenet300", "resnet18", "custom"]),
    "unknown layout": (["layout=diagonal"], ["layout=diagonal", "auto", "spatial", "channel", "flat"]),
    "unknown device": (["device=abacus"], ["device=abacus", "auto, cpu, cuda"]),
    "unknown launcher": (["hydra/launcher=nosuch"], ["hydra/launcher=nosuch", "basic", "joblib"]),
    "unknown experiment": (["experiment=nosuch"], ["experiment=nosuch", "lenet300_levels"]),
    "data set that is nowhere": (
        ["dataset=mnist", "paths.data=empty"],
        ["dataset=mnist", "paths.data=empty", "could not be downloaded", "MNIST files"],
    ),
    "outputs below a file": (
        ["paths.outputs=/dev/null/below"],
        ["paths.outputs=/dev/null/below", "directory that can be written", "choose another"],
    ),
    "key that is not there": (["nosuch=1"], ["nosuch", "no such key", "--help"]),
    "misspelt key": (["levle=1"], ["levle", "no such key", "did you mean level?"]),
    "new key in a group": (["threshold.nosuch=1"], ["threshold.nosuch", "no such key"]),
    "seed of wrong type": (["seed=abc"], ["seed=abc", "integer >= 0"]),
    "seed beyond what the splits accept": (["seed=99999999999999999999"], ["seed=99999999999999999999", "integer"]),
    "unknown control": (["compare=[nosuch]"], ["compare=", "nosuch", "magnitude", "rotation"]),
    "control that is no list": (["compare=unit"], ["compare=unit", "list of different methods"]),
    "unknown layer type": (["layers.types=[foo]"], ["layers.types", "foo", "conv, linear, recurrent, embedding"]),
    "wrong value for some layers": (
        ["layers.overrides=[{match: 'fc1*', level: 0}]"],
        ["layers.overrides", "fc1*", "level=0", ">= 1, or max"],
    ),
    "wrong key for some layers": (
        ["layers.overrides=[{match: 'fc1*', depth: 1}]"],
        ["layers.overrides", "depth", "no such key"],
    ),
    "image folder without a path": (["dataset=image_folder"], ["dataset.path", "train/<class>", "set dataset.path="]),
    "image folder that is nowhere": (
        ["dataset=image_folder", "dataset.path=nosuch"],
        ["dataset.path=nosuch", "train/<class>"],
    ),
    "custom model without a target": (["model=custom"], ["model.target", "package.module.factory"]),
    "target of a model that is not custom": (
        ["model.target=own.build"],
        ["model.target=own.build", "is for model=custom"],
    ),
    "target of data that are not custom": (
        ["dataset.target=own.data"],
        ["dataset.target=own.data", "is for dataset=custom"],
    ),
    "path of data that are no folder": (
        ["dataset.path=photos"],
        ["dataset.path=photos", "is for dataset=image_folder"],
    ),
    "custom model that is nowhere": (
        ["model=custom", "model.target=nosuch.make", "model.recipe.epochs=1"],
        ["model.target=nosuch.make", "cannot be imported"],
    ),
    "argument without a value": (["level"], ["level", "key=value"]),
    "argument without a key": (["=3"], ["=3", "key=value"]),
    "unclosed list": (["compare=[unit"], ["compare=[unit", "cannot be parsed", "quote"]),
    "reference to nothing": (["wavelet=${nosuch}"], ["nosuch", "not found"]),
    "reference to no environment": (["wavelet=${oc.env:NO_SUCH_PLACE}"], ["NO_SUCH_PLACE", "not found"]),
    "configuration that is no YAML": (["--config-dir", ".", "--config-name", "broken"], ["broken.yaml", "line 2"]),
    "configuration that is no text": (["--config-dir", ".", "--config-name", "bytes"], ["codec can't decode"]),
    "configuration without ours": (
        ["--config-dir", ".", "--config-name", "alone"],
        ["lacks wavesweep's settings", "defaults: [config, _self_]"],
    ),
    "settings of a sweep": (["-m", "--cfg", "job"], ["Only one of --run, --multirun, --cfg", "leave --multirun (-m)"]),
    "null as a group's option": (["threshold=null"], ["threshold=null", "percentile", "energy"]),
    "nothing as a group's option": (["dataset="], ["error: dataset=: must be one of", "digits", "mnist"]),
}
# What can only be wrong in a single run, or in a sweep.
MORE = {
    "grid without a point": (["-m", "wavelet=glob(*)"], ["wavelet=glob(*)"]),
    "several values without -m": (["wavelet=bior2.2,rbio3.3"], ["wavelet=bior2.2,rbio3.3", "-m"]),
    "wrong level last in a grid": (["-m", "level=1,0"], ["level=0", ">= 1, or max"]),
    "wrong wavelet amid a grid": (["-m", "wavelet=haar,foo,sym4", "level=1,2"], ["wavelet=foo", "discrete wavelet"]),
    "wrong model last in a grid": (["-m", "model=mlp,nosuch"], ["model=nosuch", "lenet300"]),
    "outputs that differ and are wrong in a grid": (
        ["-m", "paths.outputs=outputs,/dev/null/below"],
        ["paths.outputs=several", "give one directory to all points"],
    ),
    "image folder last in a grid": (["-m", "dataset=digits,image_folder"], ["dataset.path", "train/<class>"]),
}
# A sweep composes points in another way than a single run; one of each kind of mistake shows that it refuses alike.
SWEPT = (
    "unknown wavelet", "level that is a word", "percentile not a number", "unknown model", "unknown launcher",
    "data set that is nowhere", "outputs below a file", "misspelt key", "new key in a group", "seed of wrong type",
    "wrong value for some layers", "custom model that is nowhere", "argument without a key", "unclosed list",
    "reference to nothing", "configuration that is no YAML", "configuration without ours", "null as a group's option",
)  # fmt: skip
CASES = {
    **{f"{name}, single run": case for name, case in WRONG.items()},
    **{f"{name}, sweep": (["-m", *WRONG[name][0]], WRONG[name][1]) for name in SWEPT},
    **MORE,
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory, forked):
    root = tmp_path_factory.mktemp("wrong")
    directories = {name: root / str(number) for number, name in enumerate(CASES)}
    for directory in directories.values():
        directory.mkdir()
        (directory / "broken.yaml").write_text("defaults: [config]\nlevel: [1\n")
        (directory / "bytes.yaml").write_bytes(b"level: \xff\xfe")
        (directory / "alone.yaml").write_text("model: {recipe: {epochs: 3}}\n")
    return {name: (path, forked.run(path, *CASES[name][0])) for name, path in directories.items()}


def assert_refused(outcome, directory, expected):
    assert outcome.status == 2, outcome
    lines = outcome.stderr.splitlines()
    assert len(lines) == 1, outcome.stderr
    assert lines[0].startswith("error: ")
    for text in expected:
        assert text in lines[0]
    assert outcome.stdout == ""
    assert not list(directory.glob("**/baselines")), "something was trained"
    assert not list(directory.glob("**/runs"))


@pytest.mark.parametrize("name", CASES)
def test_wrong_setting_is_refused_in_one_line_before_anything_is_trained(outcomes, name):
    directory, outcome = outcomes[name]
    assert_refused(outcome, directory, CASES[name][1])


def test_real_command_refuses_like_its_fork(tmp_path):
    cases = [WRONG["unknown wavelet"], MORE["wrong level last in a grid"]]
    directories = [tmp_path / "single", tmp_path / "sweep"]
    outcomes = run_together(*((directory, case[0]) for directory, case in zip(directories, cases, strict=True)))
    for outcome, directory, case in zip(outcomes, directories, cases, strict=True):
        assert_refused(outcome, directory, case[1])


def test_every_message_is_about_its_own_key(outcomes):
    # A message that fits several cases would tell the user nothing.
    texts = [outcome.stderr for name, (_, outcome) in outcomes.items() if name in WRONG]
    for first, second in itertools.combinations(texts, 2):
        assert first != second
