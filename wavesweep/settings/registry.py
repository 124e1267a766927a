"""What settings may name: one frozen row per method, basis, threshold, quantiser, model and so on.

A row is data: its name, a line of help, the settings of its group that it uses, what choosing it sets, and a lazy
target (`package.module:name`) that is imported when it is needed, so that this module loads nothing heavy. Hydra's
options, `--help`, the checks of names, which settings have an effect, and the tables of the docs are derived from them.

Rows of one's own are a module of the namespace package `wavesweep_plugins` anywhere on the Python path, whose `ROWS`
are added to those of `wavesweep.settings.rows`.
"""

import importlib
import pkgutil
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, ClassVar, TypeVar

from wavesweep.errors import SettingsError

# The groups of which an option is chosen, in the order in which they are written on a command line.
GROUPS = ("model", "dataset", "task", "method", "threshold", "retrain", "quantize", "codec")
# Both are loaded alike, by name.
_OWN, _PLUGINS = "wavesweep.settings.rows", "wavesweep_plugins"


@dataclass(frozen=True)
class Row:
    """What all rows have.

    Attributes:
        name: what the setting is given.
        help: one line.
        target: `package.module:name` of what does the work.
        uses: settings of the row's group that have an effect with it.
        sets: values that the option of the row's config group sets, beside its name.
    """

    name: str
    help: str
    target: str = ""
    uses: tuple[str, ...] = ()
    sets: Mapping[str, Any] = field(default_factory=dict)

    group: ClassVar[str] = ""
    names: ClassVar[str] = "name"

    def load(self) -> Any:
        """What `target` names."""
        return loaded(self.target)

    @property
    def option(self) -> dict[str, Any]:
        """What the option of the config group sets."""
        return {self.names: self.name, **self.sets}


@dataclass(frozen=True)
class Basis(Row):
    """How a signal becomes coefficients; `uses` are settings of the trial. Its target takes a shape and a `BasisSpec`.

    Attributes:
        stores: fields of `BasisSpec` that make the basis, and which a file holds.
        has_levels: it splits the signal into bands of several levels.
        is_seeded: another seed makes another basis.
    """

    stores: tuple[str, ...] = ()
    has_levels: bool = False
    is_seeded: bool = False


@dataclass(frozen=True)
class Score(Row):
    """What coefficients are ranked by.

    Attributes:
        is_magnitude: a threshold can be compared with it, and soft thresholding can shrink by it.
        is_seeded: another seed makes other scores.
        is_of_units: whole units are kept or pruned.
    """

    is_magnitude: bool = False
    is_seeded: bool = False
    is_of_units: bool = False


@dataclass(frozen=True)
class Method(Row):
    """A basis and a score.

    Attributes:
        basis: name of a `Basis`.
        score: name of a `Score`.
        level_limit: target of a function that gives the length by which the level of an axis is limited, from the
            tensor's shape, its view and the axis; the axis's own length where it is empty. Such a method may also
            transform nothing.
    """

    basis: str = "identity"
    score: str = "magnitude"
    level_limit: str = ""
    group: ClassVar[str] = "method"


@dataclass(frozen=True)
class Threshold(Row):
    """How many coefficients are kept; its number, if it has one, is the first of `uses`."""

    group: ClassVar[str] = "threshold"
    names: ClassVar[str] = "rule"

    @property
    def number(self) -> str | None:
        """The setting that is the rule's number."""
        return self.uses[0] if self.uses else None


@dataclass(frozen=True)
class Allocation(Row):
    """How the kept share is shared out among tensors; without a target every tensor keeps the same share."""


@dataclass(frozen=True)
class Layout(Row):
    """How a weight is seen as a signal, and which of its axes are transformed."""


@dataclass(frozen=True)
class LayerType(Row):
    """A kind of tensors that may be pruned, for `layers.types`.

    Its target says of a module and the name of a parameter of two or more dimensions whether it is of that kind; a row
    without one has all that are of no other kind.

    Attributes:
        of_any_kind: it is no kind of its own, but takes tensors of all kinds.
        left_out: of these not the smallest, which have less than this share of the network's parameters together.
    """

    of_any_kind: bool = False
    left_out: float = 0.0


@dataclass(frozen=True)
class Retraining(Row):
    """How the network is trained on after pruning; its target is a strategy of the training loop."""

    group: ClassVar[str] = "retrain"


@dataclass(frozen=True)
class Quantizer(Row):
    """How kept coefficients become symbols."""

    group: ClassVar[str] = "quantize"


@dataclass(frozen=True)
class Codec(Row):
    """How symbols become bytes; its target is a module with `encode` and `decode`."""

    group: ClassVar[str] = "codec"

    def load(self) -> Any:
        """The module."""
        return importlib.import_module(self.target)


@dataclass(frozen=True)
class Sampler(Row):
    """How a search chooses its points.

    Attributes:
        is_exhaustive: it takes each point of a finite space once.
    """

    is_exhaustive: bool = False


@dataclass(frozen=True)
class Objective(Row):
    """A number of a trial that a search optimises; its target reads it from the trial's record.

    Attributes:
        maximize: more is better.
        title: as the head of a column.
        is_percent: it is a share, shown in percent.
        is_known_early: it is known before the network is evaluated.
        worst: `package.module:name` of the reference point's coordinate, from the record.
    """

    maximize: bool = True
    title: str = ""
    is_percent: bool = True
    is_known_early: bool = False
    worst: str = ""


@dataclass(frozen=True)
class DataSet(Row):
    """Where images, or other inputs, and their classes come from.

    Attributes:
        is_open: what it holds is the user's own, so its content enters keys.
    """

    is_open: bool = False
    group: ClassVar[str] = "dataset"


@dataclass(frozen=True)
class Normalization(Row):
    """What inputs are normalised by: mean and standard deviation of each channel of images from 0 to 1."""

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)


@dataclass(frozen=True)
class Task(Row):
    """What networks are trained for and measured by; without a target the user's own class says so."""

    group: ClassVar[str] = "task"


@dataclass(frozen=True)
class Model(Row):
    """A network and the recipe of its training; without a target it is made otherwise (torchvision's, the user's)."""

    group: ClassVar[str] = "model"


@dataclass(frozen=True)
class Preset:
    """An option of a config group that is no row of its own: another row with some settings.

    Attributes:
        kind: of the row.
        name: of the option.
        help: one line.
        sets: all values that it sets.
    """

    kind: type[Row]
    name: str
    help: str
    sets: Mapping[str, Any]

    @property
    def option(self) -> dict[str, Any]:
        """What the option of the config group sets."""
        return dict(self.sets)


R = TypeVar("R", bound=Row)


def rows(kind: type[R]) -> Mapping[str, R]:
    """The rows of a kind by name: those of wavesweep in their order, then those of plugins.

    Raises:
        SettingsError: a plugin cannot be imported, or its rows are wrong.
    """
    return _rows_by_kind()[kind]


def loaded(target: str) -> Any:
    """What `package.module:name` names."""
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


def row(kind: type[R], name: str) -> R:
    """The row of a kind with that name, which has been checked before."""
    return rows(kind)[name]


@cache
def options(group: str) -> Mapping[str, Row | Preset]:
    """The options of a config group by name."""
    found = [one for one in _everything() if (one.kind if isinstance(one, Preset) else type(one)).group == group]
    return {one.name: one for one in found}


@cache
def _rows_by_kind() -> Mapping[type[Row], Mapping[str, Any]]:
    found: dict[type[Row], dict[str, Any]] = defaultdict(dict)
    for one in _everything():
        if isinstance(one, Row):
            found[type(one)][one.name] = one
    return found


@cache
def _everything() -> tuple[Row | Preset, ...]:
    found: dict[tuple[str, str], Row | Preset] = {}
    for module_name, own in [(_OWN, importlib.import_module(_OWN).ROWS), *_of_plugins()]:
        for one in own:
            if not isinstance(one, Row | Preset) or _identity(one) in found:
                what = one.name if isinstance(one, Row | Preset) else one
                raise SettingsError(module_name, what, "must be a new row of wavesweep.settings.registry", "rename it")
            found[_identity(one)] = one
    return tuple(found.values())


def _identity(one: Row | Preset) -> tuple[str, str]:
    return (one.kind if isinstance(one, Preset) else type(one)).__name__, one.name


def _of_plugins() -> list[tuple[str, tuple[Any, ...]]]:
    try:
        package = importlib.import_module(_PLUGINS)
    except ModuleNotFoundError:
        return []
    found = []
    for module in sorted(pkgutil.iter_modules(package.__path__, f"{_PLUGINS}."), key=lambda one: one.name):
        try:
            found.append((module.name, tuple(importlib.import_module(module.name).ROWS)))
        except Exception as error:  # whatever the code of a module does when it is imported
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            text = f"plugin {module.name}: cannot be used ({reason}); mend it, or take it off the Python path"
            raise SettingsError.from_text(text, module.name) from None
    return found
