"""Which tensors of a checkpoint are those of a network, where training put others beside them and prefixes before."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from wavesweep.runtime.terminal import short_name, some

Shape = tuple[int, ...]
# Parts of names that wrappers of PyTorch put in: DataParallel, torch.compile, FSDP.
_WRAPPERS = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
# Modules are hardly nested deeper in what holds them; a hostile file may have any number of dots.
_DEEPEST_PREFIX = 8


@dataclass(frozen=True)
class Network:
    """What a network has: shapes by name, and per name the first of those that share its memory."""

    shapes: Mapping[str, Shape]
    first: Mapping[str, str]


@dataclass(frozen=True)
class Match:
    """How the names of a checkpoint become those of a network.

    Attributes:
        entry: dotted keys under which the state dict was found; empty if it is the file itself.
        prefix: what was taken from the beginning of its names.
        wrappers: what was taken from within them.
        names: those of the network, each with that of the checkpoint; of tied tensors one may be missing.
        left_out: the other names.
    """

    entry: str
    prefix: str
    wrappers: tuple[str, ...]
    names: Mapping[str, str]
    left_out: tuple[str, ...]

    @property
    def is_plain(self) -> bool:
        """Whether names are the same, and all are there."""
        return not (self.entry or self.prefix or self.wrappers or self.left_out)

    def __str__(self) -> str:
        parts = [f"took its entry {short_name(self.entry)}"] if self.entry else []
        if self.prefix:
            parts.append(f"stripped the prefix {short_name(self.prefix)} from {len(self.names)} names")
        if self.wrappers:
            parts.append(f"stripped {' and '.join(f'{part}.' for part in self.wrappers)} within names")
        if self.left_out:
            parts.append(f"left out {some_short(self.left_out)}")
        return "; ".join(parts)


def matches(network: Network, entry: str, state: Mapping[str, Shape]) -> list[Match]:
    """All ways in which a state dict fits a network: equal names come before prefixes, and these before wrappers."""
    for trial in _trials(network, entry, state):
        found = [match for match in trial if _fits(network, match, state)]
        if found:
            return found
    return []


def nearest(network: Network, entry: str, state: Mapping[str, Shape]) -> Match:
    """The way in which most names fit, though not all do."""
    every = [match for trial in _trials(network, entry, state) for match in trial]
    return max(every, key=lambda match: len(match.names.keys() & network.shapes.keys()))


def differences(network: Network, match: Match, state: Mapping[str, Shape]) -> dict[str, list[str]]:
    """What is wrong with a match: names that are missing, unexpected or of another shape."""
    own, found = network.shapes, match.names
    covered = {network.first[name] for name in own.keys() & found.keys()}
    return {
        "missing": sorted(name for name in own if network.first[name] not in covered),
        "unexpected": sorted(found.keys() - own.keys()),
        "of another shape": sorted(name for name in own.keys() & found.keys() if state[found[name]] != own[name]),
    }


def prefixes_in_words(names: Sequence[str]) -> str:
    """How names begin, with how many do: `module. (62), step`."""
    counts: dict[str, int] = {}
    for name in names:
        first, dot, _ = name.partition(".")
        counts[first + dot] = counts.get(first + dot, 0) + 1
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    texts = [f"{short_name(begin)} ({count})" if begin.endswith(".") else short_name(begin) for begin, count in ordered]
    return some(texts)


def some_short(names: Sequence[str]) -> str:
    """The first few names of a file, and how many others there are."""
    return some([short_name(name) for name in names])


def _trials(network: Network, entry: str, state: Mapping[str, Shape]) -> Iterator[list[Match]]:
    names = {name: name for name in state}
    yield [Match(entry, "", (), names, ())]
    yield list(_by_prefix(network, entry, names, ()))
    own, plain = ({_plain(name): name for name in of} for of in (network.shapes, state))
    if len(own) < len(network.shapes) or len(plain) < len(state):
        return  # without the wrappers' parts some have the same name
    wrappers = tuple(part for part in _WRAPPERS if any(part in name.split(".") for name in state))
    # A network that is wrapped itself has its own names again.
    renamed = {own.get(short, short): name for short, name in plain.items()}
    yield [Match(entry, "", wrappers, renamed, ())]
    shorter = Network(
        {_plain(name): shape for name, shape in network.shapes.items()},
        {_plain(name): _plain(first) for name, first in network.first.items()},
    )
    for match in _by_prefix(shorter, entry, plain, wrappers):
        again = {own.get(short, short): name for short, name in match.names.items()}
        yield [Match(entry, match.prefix, wrappers, again, match.left_out)]


def _by_prefix(network: Network, entry: str, names: Mapping[str, str], wrappers: tuple[str, ...]) -> Iterator[Match]:
    """The names below each prefix under which the network's may all be, and those under which most of them are."""
    known: dict[str, int] = {}
    for name in names:
        for prefix in _prefixes(name):
            known[prefix] = known.get(prefix, 0) + (name.removeprefix(prefix) in network.shapes)
    least, best = len(set(network.first.values())), max(known.values(), default=0)
    for prefix, count in known.items():
        if count and count >= min(least, best):
            taken = {name.removeprefix(prefix): full for name, full in names.items() if name.startswith(prefix)}
            rest = tuple(full for name, full in names.items() if not name.startswith(prefix))
            yield Match(entry, prefix, wrappers, taken, rest)


def _prefixes(name: str) -> list[str]:
    parts = name.split(".", _DEEPEST_PREFIX + 1)[: _DEEPEST_PREFIX + 1]
    return [".".join(parts[:count]) + "." for count in range(1, len(parts))]


def _plain(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def _fits(network: Network, match: Match, state: Mapping[str, Shape]) -> bool:
    return not any(differences(network, match, state).values())
