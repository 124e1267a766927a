"""Every relative link of the documentation leads to a file and a heading, and the commands of its guide compose."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import README_SWEEP
from hydra.core.override_parser.overrides_parser import OverridesParser

from wavesweep.cli.composition import compose_settings

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), ROOT / "benchmarks" / "README.md", *ROOT.glob("docs/**/*.md")])
GUIDE = [ROOT / "README.md", *sorted(ROOT.glob("docs/guide/*.md"))]


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def prose(page: Path) -> str:
    """The text of a page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """What links to the headings of a page end in, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands(page: Path) -> list[str]:
    """The command lines of a page that can be composed: all except searches, whose values are intervals."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    found = [line.partition(" #")[0] for line in re.findall(r"python -m wavesweep (?!--)([^`\n]+)", text)]
    return [line for line in found if "search=" not in line]


def points(line: str) -> Iterator[list[str]]:
    """Overrides of as few trials of a command line as have each of its values."""
    overrides = [word for word in shlex.split(line) if word != "-m"]
    values = [
        [f"{one.key_or_group}={value}" for value in one.sweep_string_iterator()]
        if one.is_sweep_override()
        else [str(one.input_line)]
        for one in OverridesParser.create().parse_overrides(overrides)
    ]
    for number in range(max(map(len, values), default=1)):
        yield [alternatives[min(number, len(alternatives) - 1)] for alternatives in values]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_relative_links_lead_to_files_and_headings(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if "://" in link:
            continue
        file, _, anchor = link.partition("#")
        target = page.parent / file if file else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.integration
@pytest.mark.parametrize("page", GUIDE, ids=name)
def test_commands_compose(page):
    for line in commands(page):
        for overrides in points(line):
            compose_settings(overrides)


def test_the_readme_and_the_guide_show_the_commands_that_are_tested():
    assert len(commands(ROOT / "README.md")) >= 4
    assert " ".join(README_SWEEP) in (ROOT / "docs" / "guide" / "start.md").read_text(encoding="utf-8")


def test_every_page_is_in_the_index():
    linked = set(re.findall(r"\]\(([\w/.-]+\.md)", (ROOT / "docs" / "README.md").read_text(encoding="utf-8")))
    pages = {page.relative_to(ROOT / "docs").as_posix() for page in ROOT.glob("docs/**/*.md")}
    studies = {page for page in pages if page.startswith("studies/")}
    assert pages - studies - {"README.md"} <= linked
