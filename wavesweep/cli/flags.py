"""The flags of the command line, which are Hydra's, checked before it reads them: what is wrong is one line."""

import difflib
from collections.abc import Sequence

from wavesweep.cli.hydra_internals import flags_of, known_flags
from wavesweep.errors import SettingsError


def check_flags(arguments: Sequence[str]) -> None:
    """Refuse flags that are unknown, that lack their value, or that would be ignored.

    Raises:
        SettingsError: naming the flag, and what to do.
    """
    try:
        flags = flags_of(arguments)
    except ValueError as error:
        raise _wrong_flag(str(error)) from None
    if flags.experimental_rerun is not None:
        text = "is not for wavesweep; the same command again continues where it stopped"
        raise SettingsError.from_text(f"--experimental-rerun: {text}", "--experimental-rerun")
    for name in ("package", "resolve"):
        if getattr(flags, name) and flags.cfg is None and not flags.help:
            raise SettingsError.from_text(f"--{name}: needs --cfg job, whose settings it shows; add that", f"--{name}")


def _wrong_flag(reason: str) -> SettingsError:
    """The error for what argparse refuses, by its reason."""
    unknown = reason.removeprefix("unrecognized arguments: ")
    if unknown == reason:
        flag, _, rest = reason.removeprefix("argument ").partition(": ")
        return SettingsError.from_text(f"{flag}: {rest}; see --hydra-help", flag)
    flag = next((one for one in unknown.split() if one.startswith("-")), unknown)
    close = difflib.get_close_matches(flag.partition("=")[0], known_flags(), n=1)
    hint = f"did you mean {close[0]}?" if close else "settings are written key=value, without dashes; see --help"
    return SettingsError.from_text(f"{flag}: there is no such flag; {hint}", flag)
