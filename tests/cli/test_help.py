"""--help, --version and --cfg job."""

from importlib.metadata import version

import pytest
import yaml


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory, forked):
    directory = tmp_path_factory.mktemp("help")
    lines = [["--help"], ["--version"], ["--cfg", "job", "level=2", "model=lenet5"]]
    return directory, [forked.run(directory, *line) for line in lines]


def test_all_succeed_and_leave_nothing_behind(outcomes):
    directory, ended = outcomes
    for outcome in ended:
        assert (outcome.status, outcome.stderr) == (0, "")
    assert list(directory.iterdir()) == []


@pytest.mark.parametrize(
    "line",
    [
        "dataset=... digits mnist fashion_mnist cifar10 cifar100 image_folder custom",
        "method=... wavelet magnitude random unit dct rotation shuffled clamped_wavelet",
        "threshold=... percentile universal energy absolute none",
        "codec=... range huffman none",
        "quantize=... none uniform kmeans rdo",
        "model=... mlp lenet300 lenet5 mlp5 fashion_cnn resnet18 resnet20 resnet56 densenet100 custom torchvision",
        "layout=... auto spatial channel all flat",
        "search.sampler=... tpe gp nsga2 nsga3 qmc random grid brute_force",
    ],
)
def test_help_lists_the_groups_with_their_options_and_a_line_of_help_for_each(outcomes, line):
    lines = outcomes[1][0].stdout.splitlines()
    head, *names = line.split()
    first = lines.index(head) + 1
    shown = [one.split(maxsplit=1) for one in lines[first : first + len(names)]]
    assert [name for name, _ in shown] == names
    assert not lines[first + len(names)].startswith("  ")


def test_help_lists_the_settings_with_their_defaults(outcomes):
    lines = outcomes[1][0].stdout.splitlines()
    for line in ("wavelet: bior2.2", "level: 3", "layout: auto", "  percentile: 80.0", "  outputs: outputs"):
        assert line in lines


def test_help_shows_four_commands_with_what_they_do(outcomes):
    lines = outcomes[1][0].stdout.splitlines()
    commands = [number for number, line in enumerate(lines) if line.strip().startswith("python -m wavesweep")]
    assert len(commands) == 4
    assert lines[commands[1]].strip() == "python -m wavesweep -m wavelet=bior2.2,rbio3.3 level=1,3,5"
    for number in commands:
        assert lines[number + 1].startswith("   ")


def test_help_explains_the_exit_statuses_and_where_records_are(outcomes):
    text = outcomes[1][0].stdout
    assert "Exit status: 0 all done, 1 a trial failed, 2 a setting is wrong" in text
    assert "<paths.outputs>/runs/<key>/result.json" in text


def test_version_is_that_of_the_installed_package(outcomes):
    assert outcomes[1][1].stdout == f"wavesweep {version('wavesweep')}\n"


def test_cfg_job_prints_the_composed_settings(outcomes):
    settings = yaml.safe_load(outcomes[1][2].stdout)
    assert settings["level"] == 2
    assert settings["model"]["name"] == "lenet5"
    assert settings["model"]["recipe"]["epochs"] == 12
    assert settings["compare"] == ["magnitude", "random"]
    assert "hydra" not in settings
