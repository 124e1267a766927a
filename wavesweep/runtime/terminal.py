"""Lines for a terminal. Names and texts from files may hold escape sequences, which are shown and never sent."""

import sys
import unicodedata
from collections.abc import Sequence
from contextlib import suppress

# Control characters, invisible ones that change the direction of text, and halves of surrogate pairs.
_UNSAFE = ("Cc", "Cf", "Cs", "Zl", "Zp")
_LONGEST_NAME, _MOST_NAMES = 120, 5
_INVISIBLE_BUT_SAFE = "\u200c\u200d\u00ad"  # joiners that scripts need, and the soft hyphen


def printable(text: object) -> str:
    """The text on one line, with what a terminal would obey written as in `\\x1b`."""
    found = str(text)
    if found.isascii() and found.isprintable():
        return found
    return "".join(map(_shown, found))


def _shown(character: str) -> str:
    is_unsafe = unicodedata.category(character) in _UNSAFE and character not in _INVISIBLE_BUT_SAFE
    return character.encode("unicode_escape").decode() if is_unsafe else character


def short_name(name: str) -> str:
    """A name from a file, which may hold anything, fit for a part of a line."""
    shown = name if name.isprintable() and name else ascii(name)
    return shown if len(shown) <= _LONGEST_NAME else f"{shown[:_LONGEST_NAME]}..."


def some(names: Sequence[str]) -> str:
    """The first few names, and how many others there are."""
    others = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + others


def say(text: object) -> None:
    """A line on standard output."""
    print(printable(text), flush=True)


def say_aside(text: object) -> None:
    """A line on standard error; the work continues if nobody reads it any more (`2>&1 | head`, a closed terminal)."""
    with suppress(OSError, ValueError):
        print(printable(text), file=sys.stderr, flush=True)
