"""Tables as Markdown."""

from collections.abc import Sequence


def table_text(headings: Sequence[str], rows: Sequence[Sequence[str]], words: int) -> str:
    """A Markdown table, numbers (all but the first `words` columns) to the right."""
    align = ["---"] * words + ["---:"] * (len(headings) - words)
    lines = ([cell.replace("|", "\\|") for cell in cells] for cells in [headings, align, *rows])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
