"""Records for tests: one that a trial of the digits MLP left behind, and as many variations of it as wanted."""

import copy
import hashlib
import json
import math
import random
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

TEMPLATE = Path(__file__).with_name("template.json")
# Invented for the synthetic records: how fast accuracy comes back with the share of coefficients kept.
RECOVERY = {"wavelet": 18.0, "dct": 16.0, "rotation": 14.0, "magnitude": 12.0, "unit": 6.0, "random": 3.0}
WAVELETS = ("bior2.2", "rbio3.3", "haar", "db2", "db4", "sym4", "coif1", "bior4.4", "dmey", "bior3.1")
GRID: dict[str, Sequence[Any]] = {
    "threshold.percentile": (50.0, 60.0, 70.0, 80.0, 85.0, 90.0, 95.0, 98.0),
    "wavelet": WAVELETS,
    "level": (1, 2, 3, 5, "max"),
    "layout": ("auto", "channel", "flat", "all"),
    "quantize.bits": tuple(range(8, 1, -1)),
    "quantize.step": (None, 0.5, 1.0, 2.0),
}


def example(settings: Mapping[str, Any] | None = None, key: str | None = None) -> dict[str, Any]:
    """A well-formed record of three arms; `settings` by their dotted names replace those of the template."""
    record = copy.deepcopy(_template())
    for name, value in (settings or {}).items():
        set_dotted(record["settings"], name, value)
    record["key"] = key or key_of(record["settings"])
    return record


def key_of(content: Any) -> str:
    """Some key of the right form; not the one that the command line would make."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def set_dotted(tree: dict[str, Any], name: str, value: Any) -> None:
    """Set a leaf of a nested dictionary."""
    *groups, leaf = name.split(".")
    for group in groups:
        tree = tree[group]
    tree[leaf] = value


def write_record(outputs: Path, record: Mapping[str, Any]) -> Path:
    """Write one record to where a trial leaves it."""
    path = outputs / "runs" / record["key"] / "result.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1))
    return path


def write_failure(outputs: Path, key: str, reason: str, settings: Mapping[str, Any] | None = None) -> Path:
    """Write what a failed trial leaves behind; without settings it failed before they were written."""
    path = outputs / "runs" / key / "failure.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"reason": reason}))
    if settings is not None:
        (path.parent / "config.yaml").write_text(yaml.safe_dump(dict(settings)))
    return path


def write_records(
    outputs: Path,
    count: int,
    *,
    seeds: int = 3,
    settings: Mapping[str, Any] | None = None,
    methods: Sequence[str] = ("wavelet", "magnitude", "random"),
    random_seed: int = 0,
) -> list[str]:
    """Write `count` synthetic records, a grid over `GRID` with the seed varying fastest; returns their keys.

    Sizes and accuracies are invented, but lie on plausible curves: with fewer coefficients kept a file is smaller and
    its accuracy lower, methods and wavelets differ, and seeds scatter.

    Args:
        outputs: the directory that gets `runs/<key>/result.json`.
        count: number of records.
        seeds: number of seeds of each point of the grid.
        settings: values by dotted names, the same for all records; they leave the grid.
        methods: of the arms, the main one first; names of `RECOVERY`.
        random_seed: of the invented numbers.
    """
    fixed = {"compare": list(methods[1:]), "method.name": methods[0], **(settings or {})}
    axes = {"seed": tuple(range(seeds)), **GRID}
    axes = {name: values for name, values in axes.items() if name not in fixed}
    text = _placeholders(example(fixed), list(axes), methods)
    generator = random.Random(random_seed)
    keys = []
    for number in range(count):
        rest, chosen = number, dict(fixed)
        for name, values in axes.items():
            rest, index = divmod(rest, len(values))
            chosen[name] = values[index]
        if rest:
            raise ValueError(f"the grid has fewer than {count} points")
        values = {"key": key_of([chosen, random_seed]), **{f"settings.{name}": chosen[name] for name in axes}}
        values |= _measures(chosen, methods, generator)
        path = outputs / "runs" / values["key"] / "result.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(re.sub(r'"@([\w.]+)@"', lambda match, values=values: json.dumps(values[match[1]]), text))
        keys.append(values["key"])
    return keys


@cache
def _template() -> dict[str, Any]:
    record: dict[str, Any] = json.loads(TEMPLATE.read_text())
    return record


def _placeholders(record: dict[str, Any], swept: Sequence[str], methods: Sequence[str]) -> str:
    """The record as indented text with `"@name@"` where a number is filled in: fast for thousands of records."""
    record["key"] = "@key@"
    for name in swept:
        set_dotted(record["settings"], name, f"@settings.{name}@")
    arms = record["arms"]
    record["arms"] = [copy.deepcopy(arms[min(number, len(arms) - 1)]) for number in range(len(methods))]
    for number, (method, arm) in enumerate(zip(methods, record["arms"], strict=True)):
        arm |= {"method": method, "arm_key": f"@{number}.arm_key@"}
        for name in ("kept_coefficients", "nonzero_coefficients", "coefficient_sparsity", "weight_sparsity"):
            arm[name] = f"@{number}.{name}@"
        for name in ("stored_bytes", "compression_ratio", "bits_per_weight"):
            arm[name] = f"@{number}.{name}@"
        if number:
            arm["requested"] = f"@{number}.requested@"
        for split in ("validation", "test"):
            for name in ("accuracy", "loss", "precision", "recall", "f1"):
                arm[split][name] = f"@{number}.{split}.{name}@"
    return json.dumps(record, indent=1)


def _measures(chosen: Mapping[str, Any], methods: Sequence[str], generator: random.Random) -> dict[str, Any]:
    template = _template()
    baseline, total = template["baseline"], template["arms"][0]["total_coefficients"]
    # The same for all arms of a point and seed, so that their differences scatter less than they do.
    luck = generator.gauss(0, 0.01)
    family = 1.0 + 0.04 * (WAVELETS.index(chosen["wavelet"]) % 5) if chosen.get("wavelet") in WAVELETS else 1.0
    kept = round(total * (1 - chosen.get("threshold.percentile", 80.0) / 100))
    main_bytes = round(900 + 0.55 * kept + 0.08 * kept * (chosen.get("quantize.bits", 8) / 8))
    by_bytes = chosen.get("compare_match", template["settings"]["compare_match"]) == "bytes"
    values: dict[str, Any] = {}
    for number, method in enumerate(methods):
        size = main_bytes
        if number:
            size = round(main_bytes * (generator.uniform(0.995, 1.005) if by_bytes else generator.uniform(0.9, 1.05)))
            wanted = {"stored_bytes": main_bytes} if by_bytes else {"kept_coefficients": kept}
            values[f"{number}.requested"] = wanted
        rate = RECOVERY[method] * (family if method == "wavelet" else 1.0)
        for split in ("validation", "test"):
            lost = 0.88 * math.exp(-rate * kept / total)
            accuracy = baseline[split]["accuracy"] - lost + luck + generator.gauss(0, 0.004)
            accuracy = min(1.0, max(0.05, accuracy))
            values |= {f"{number}.{split}.{name}": accuracy for name in ("accuracy", "precision", "recall", "f1")}
            values[f"{number}.{split}.loss"] = -math.log(max(accuracy - 0.001, 1e-3))
        values |= {
            f"{number}.arm_key": key_of([*map(str, chosen.values()), method, number]),
            f"{number}.kept_coefficients": kept,
            f"{number}.nonzero_coefficients": kept,
            f"{number}.coefficient_sparsity": 1 - kept / total,
            f"{number}.weight_sparsity": (1 - kept / total) * (0.1 if method == "wavelet" else 1.0),
            f"{number}.stored_bytes": size,
            f"{number}.compression_ratio": baseline["dense_bytes"] / size,
            f"{number}.bits_per_weight": 8 * size / baseline["parameters"],
        }
    return values
