"""The page of a study from the records that a command left."""

from wavesweep.analysis import command, study
from wavesweep.analysis.studies.page import BEGIN, END

PAGE = f"{BEGIN}\n{END}\n"


def make_page(monkeypatch, directory, name):
    """The page that the tool makes of the records in `directory`, with all its charts there."""
    page = directory / f"{name}.md"
    page.write_text(PAGE)
    monkeypatch.setattr("sys.argv", ["study", name, str(directory / "outputs"), "--docs", str(directory)])
    assert command.run(study.main) == 0
    return page.read_text()
