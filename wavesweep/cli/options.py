"""Hydra's config groups and the text of `--help`, derived from the rows of the registry."""

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from wavesweep.settings import registry
from wavesweep.settings.registry import GROUPS, Allocation, LayerType, Layout, Objective, Row, Sampler
from wavesweep.settings.schema import config_directory

# Settings that are no groups, and take the name of a row, or a list of names.
_NAMED: tuple[tuple[str, type[Row]], ...] = (
    ("layout", Layout),
    ("layers.types", LayerType),
    ("threshold.allocation", Allocation),
    ("search.sampler", Sampler),
    ("search.objectives", Objective),
)
_RESOLVER = "wavesweep_rows"


def store_options() -> None:
    """Make the options of all groups known to Hydra, and the resolver of its help text to OmegaConf."""
    store = ConfigStore.instance()
    for group in GROUPS:
        for name, option in registry.options(group).items():
            store.store(group=group, name=name, node=option.option, replace=True)
    OmegaConf.register_resolver(_RESOLVER, rows_text, replace=True)


def rows_text() -> str:
    """All options with their lines of help, as `--help` shows them."""
    parts = [
        _block(f"{group}=...", [(one.name, one.help) for one in registry.options(group).values()]) for group in GROUPS
    ]
    for key, kind in _NAMED:
        parts.append(_block(f"{key}=...", [(row.name, row.help) for row in registry.rows(kind).values()]))
    studies = ", ".join(sorted(file.stem for file in (config_directory() / "experiment").glob("*.yaml")))
    parts.append(
        _block("with -m", [("search=pareto", "Optuna looks for the Pareto front"), ("experiment=...", studies)])
    )
    return "\n".join(parts).replace("$", "$$")  # Hydra substitutes $NAME in this text


def _block(head: str, rows: list[tuple[str, str]]) -> str:
    width = max(len(name) for name, _ in rows)
    return "\n".join([head, *(f"  {name:<{width}}  {text}" for name, text in rows)])
