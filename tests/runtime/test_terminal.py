"""What is printed of names and texts that come from files."""

import pytest

from wavesweep.cli.tables import show_trials
from wavesweep.runtime.terminal import printable, say, say_aside
from wavesweep.settings.schema import Settings


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("fc1.weight: 12 % [bold]", "fc1.weight: 12 % [bold]"),
        ("größe µ × 漢字 🙂", "größe µ × 漢字 🙂"),
        ("\x1b]0;title\x07\x1b[2J", r"\x1b]0;title\x07\x1b[2J"),
        ("a\nb\tc\r", r"a\nb\tc\r"),
        ("\x9b31m\x7f", r"\x9b31m\x7f"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("\ud800", r"\ud800"),
    ],
)
def test_what_a_terminal_would_obey_is_shown(text, shown, capsys):
    assert printable(text) == shown
    say(text)
    say_aside(text)
    assert capsys.readouterr() == (f"{shown}\n", f"{shown}\n")


def test_a_table_of_trials_sends_no_escape_sequences(capsys):
    show_trials(
        [({"wavelet": "\x1b[31mhaar"}, {"failed": "\x1b]0;x\x07"}), ({"wavelet": "db2"}, {"failed": "y"})], Settings()
    )
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert r"\x1b[31mhaar" in out
    assert r"failed: \x1b]0;x\x07" in out
