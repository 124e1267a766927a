"""What several files of end-to-end tests look at: computed once, and not to be changed."""

import pytest
from command_line import README_SWEEP, forking, run


@pytest.fixture(scope="session")
def readme_sweep(tmp_path_factory):
    """The directory in which the README's sweep ran, and how that ended."""
    directory = tmp_path_factory.mktemp("readme")
    return directory, run(directory, *README_SWEEP)


@pytest.fixture(scope="session")
def forked(tmp_path_factory):
    """Runs a command line in a directory quickly: `forked.run(directory, *arguments)`."""
    with forking(tmp_path_factory.mktemp("forked")) as forker:
        yield forker
