"""The tables of docs/methods.md are those of the registry."""

import runpy
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"


def test_the_tables_of_the_page_are_those_of_the_registry():
    tables = runpy.run_path(str(DOCS / "tables.py"))
    page = (DOCS / "methods.md").read_text(encoding="utf-8")
    assert page == tables["written"](page), "run python docs/tables.py"
    assert all(f"<!-- table: {name} -->" in page for name in tables["KINDS"])
