"""`python -m wavesweep.codec info|decode|verify FILE`."""

import argparse
import json
import sys
from dataclasses import fields
from pathlib import Path

from rich.console import Console
from rich.table import Table
from safetensors.torch import save

from wavesweep.codec.limits import Limits
from wavesweep.codec.read import finite, raw_bytes, read, tensor_table
from wavesweep.codec.tensors import state_dict
from wavesweep.errors import FileFormatError, WavesweepError
from wavesweep.runtime.records import write_atomically
from wavesweep.runtime.terminal import printable, say, say_aside


def main(arguments: list[str] | None = None) -> int:
    """Run one of the three commands; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m wavesweep.codec", description="Look into compressed networks.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("info", "print what made the file, and a table of its tensors"),
        ("decode", "write the decoded tensors as safetensors"),
        ("verify", "check every checksum and decode every tensor"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("file", type=Path, help="a .wsz file")
        limits = command.add_argument_group("limits, beyond which a file is refused; raise them for one that you trust")
        for limit in fields(Limits):
            flag, text = f"--{limit.name.replace('_', '-')}", f"{limit.metadata['help']} (default {limit.default:,})"
            limits.add_argument(flag, type=int, default=limit.default, metavar="N", help=text)
        if name == "decode":
            command.add_argument("output", type=Path, nargs="?", help="default: the file with .safetensors as ending")
    options = parser.parse_args(arguments)
    try:
        return _run(options)
    except (WavesweepError, OSError) as error:
        text = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error)
        say_aside(f"error: {text}")
        return 1


def _run(options: argparse.Namespace) -> int:
    limits = Limits(**{limit.name: getattr(options, limit.name) for limit in fields(Limits)})
    tensors, header = read(options.file, limits)
    size = options.file.stat().st_size
    if options.command == "info":
        say(f"{options.file}: {size:,} bytes, coder {header['coder']}")
        say("the network's architecture is not in the file: load it into a network of its own")
        if "made_by" in header:
            say(f"made by: {json.dumps(header['made_by'])}")
        raw = sum(raw_bytes(header).values())
        say(f"stored number by number: {raw:,} bytes, {100 * raw / size:.1f} % of the file")
        _print_table(tensor_table(tensors))
        return 0
    state = state_dict(tensors)
    if options.command == "decode":
        output = options.output or options.file.with_suffix(".safetensors")
        if output.resolve() == options.file.resolve():
            raise FileFormatError(f"{output}: is the file itself; give another output")
        # safetensors refuses tensors that share memory, as tied ones do.
        write_atomically(output, save({name: value.clone().contiguous() for name, value in state.items()}))
        say(f"{output}: {len(state)} tensors, {output.stat().st_size:,} bytes")
        return 0
    if not finite(state):
        say_aside(f"error: {options.file}: holds NaN or infinity")
        return 1
    count = sum(value.numel() for value in state.values())
    say(f"{options.file}: sound, {len(state)} tensors, {count:,} numbers, {8 * size / max(count, 1):.3f} bits each")
    return 0


def _print_table(rows: list[dict[str, object]]) -> None:
    table = Table(box=None, pad_edge=False)
    names = list(rows[0]) if rows else []
    for name in names:
        table.add_column(name, justify="right" if name in ("numbers", "zero") else "left")
    for row in rows:
        table.add_row(
            *(f"{row[n]:.2%}" if n == "zero" else f"{row[n]:,}" if n == "numbers" else printable(row[n]) for n in names)
        )
    width = None if sys.stdout.isatty() else 10_000
    Console(markup=False, width=width).print(table)


if __name__ == "__main__":
    sys.exit(main())
