"""Texts in quotes, as Hydra's grammar of overrides reads them."""

import re


def quoted(text: str) -> str:
    """`text` as a quoted string of Hydra's grammar."""
    # Double quotes read better within the shell's single ones. A backslash counts only before a quote, or at the end.
    quote = "'" if '"' in text else '"'
    escaped = re.sub(rf"(\\*)({quote}|$)", lambda found: found[1] * 2 + ("\\" + quote if found[2] else ""), text)
    return f"{quote}{escaped}{quote}"
