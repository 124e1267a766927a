"""Texts that come from files, such as names, made fit for one line of a terminal or a record."""

_LONGEST = 120


def printable(name: str) -> str:
    """A name, which may hold anything, without what a terminal would obey, and not longer than a line."""
    shown = name if name.isprintable() and name else ascii(name)
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}..."
