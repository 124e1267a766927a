"""Values and texts as Hydra's grammar of overrides reads them."""

import re
from collections.abc import Mapping
from typing import Any

_PLAIN = re.compile(r"(?:\.{0,2}/)*[A-Za-z_][A-Za-z0-9_./-]*")
_RESERVED = re.compile(r"null|true|false|nan|inf", re.IGNORECASE)


def quoted(text: str) -> str:
    """`text` as a quoted string of Hydra's grammar."""
    # Double quotes read better within the shell's single ones. A backslash counts only before a quote, or at the end.
    quote = "'" if '"' in text else '"'
    escaped = re.sub(rf"(\\*)({quote}|$)", lambda found: found[1] * 2 + ("\\" + quote if found[2] else ""), text)
    return f"{quote}{escaped}{quote}"


def hydra_value(value: Any) -> str:
    """A value as Hydra's grammar of overrides reads it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Mapping):
        # The grammar has no quotes for the names in a mapping.
        return "{" + ",".join(f"{name}:{hydra_value(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(hydra_value, value)) + "]"
    text = str(value)
    if _PLAIN.fullmatch(text) and not _RESERVED.fullmatch(text):
        return text
    return quoted(text)
