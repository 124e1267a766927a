"""Whether the default search of 40 trials finds what a hand-made list of 200 settings finds.

    python benchmarks/search_finds_best.py --outputs outputs model=mlp dataset=digits
    python benchmarks/search_finds_best.py --outputs outputs --parts search model=lenet5 dataset=mnist paths.data=data

runs both by the command line, with whatever else is given, and prints the smallest file of each at several losses of
validation accuracy. The target is that the search's is at most 5 % larger. Records are kept: it can be stopped and
continues, and a trial that both have is computed once. A list of settings is easily made for a network that one knows;
this one is the same for all, and spans what won on some of them.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

# The smallest files at these losses are compared, in points of validation accuracy.
DROPS = (0.5, 1.0, 2.0, 5.0)
TARGET = 1.05
STEPS = (0.02, 0.03, 0.045, 0.065, 0.09, 0.14, 0.2, 0.28, 0.4, 0.56)
TRANSFORMS = (
    ("method=magnitude",),
    ("method=dct", "layout=auto"),
    ("method=dct", "layout=spatial"),
    *(
        ("method=wavelet", f"wavelet={wavelet}", f"level={level}", "layout=auto")
        for wavelet in ("haar", "db2", "bior2.2")
        for level in (1, 2, 3)
    ),
)
# Instead of retraining, with --one-shot.
MORE_TRANSFORMS = tuple(
    ("method=wavelet", f"wavelet={wavelet}", f"level={level}", f"layout={layout}")
    for wavelet, layout in (("haar", "spatial"), ("db2", "spatial"), ("sym4", "auto"), ("bior4.4", "auto"))
    for level in (1, 2)
)
COMMON = ("compare=[]", "threshold=none", "quantize.other=quantized", "shrink=true")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--outputs", default="outputs", type=Path, help="where records go")
    parser.add_argument("--trials", default=40, type=int, help="of the search")
    parser.add_argument("--max-drop", default=1.0, type=float, help="limit that the search is given, in points")
    parser.add_argument("--parts", nargs="+", default=["search", "list"], choices=["search", "list"])
    parser.add_argument("--one-shot", action="store_true", help="neither of the two retrains")
    options, network = parser.parse_known_args()
    common = [*network, f"paths.outputs={options.outputs}"]
    found = {}
    if "search" in options.parts:
        found["search"] = of_search(options, common)
    if "list" in options.parts:
        found["list"] = [
            of_command(options.outputs, (*common, *COMMON, *point)) for point in hand_made(options.one_shot)
        ]
    show({name: [one for one in points if one is not None] for name, points in found.items()})


def hand_made(one_shot: bool) -> Iterator[tuple[str, ...]]:
    """200 settings: 120 without retraining, 60 with the bits in the loss, 20 that prune and retrain first; or all of
    them without."""
    for transform in (*TRANSFORMS, *(MORE_TRANSFORMS if one_shot else ())):
        for step in STEPS:
            yield ("quantize=rdo", *transform, f"quantize.step={step}")
    if one_shot:
        return
    for transform in (TRANSFORMS[0], TRANSFORMS[1], TRANSFORMS[4]):
        for epochs in (5, 20):
            for group in (0, 1):
                for weight in (1, 2, 4, 8, 16):
                    retrain = ("retrain=rate", f"retrain.epochs={epochs}", f"retrain.rate_weight={weight}")
                    yield (*transform, *retrain, f"retrain.group_weight={group}")
    for percentile in (70, 80, 90, 95):
        for step in (0.045, 0.09, 0.14, 0.2, 0.28):
            pruned = ("threshold=percentile", f"threshold.percentile={percentile}", "retrain=finetune")
            yield ("quantize=rdo", "method=magnitude", *pruned, "retrain.epochs=5", f"quantize.step={step}")


def of_search(options: argparse.Namespace, common: list[str]) -> list[tuple[float, int] | None]:
    """Points lost and bytes of the search's complete trials."""
    study = f"finds-best-{options.max_drop:g}{'-one-shot' if options.one_shot else ''}"
    more = ["retrain=none"] if options.one_shot else []
    limits = [f"search.constraints.max_drop={options.max_drop}", f"search.n_trials={options.trials}"]
    command("-m", "search=pareto", f"search.study={study}", *limits, *more, *common)
    directory = options.outputs / "studies" / study
    keys = [
        line.split(",")[1] for line in (directory / "history.csv").read_text().splitlines()[1:] if ",complete," in line
    ]
    return [measured(options.outputs, key) for key in keys]


def of_command(outputs: Path, point: tuple[str, ...]) -> tuple[float, int] | None:
    """The same of one setting; None where it fails, as a wavelet that is too long for every axis does."""
    from wavesweep.cli.composition import compose_settings
    from wavesweep.errors import WavesweepError
    from wavesweep.experiment.trial import run_trial

    settings = compose_settings(list(point))
    settings.progress = False
    try:
        return measured(outputs, run_trial(settings)["key"])
    except WavesweepError as error:
        print(f"{' '.join(point)}: {error}", file=sys.stderr, flush=True)
        return None


def measured(outputs: Path, key: str) -> tuple[float, int]:
    record = json.loads((outputs / "runs" / key / "result.json").read_text())
    main = record["arms"][0]
    return 100 * (record["baseline"]["validation"]["accuracy"] - main["validation"]["accuracy"]), main["stored_bytes"]


def command(*arguments: str) -> None:
    # Its status is 1 where a trial failed, as one whose wavelet is longer than a kernel does.
    subprocess.run([sys.executable, "-m", "wavesweep", *arguments], check=False, stdout=subprocess.DEVNULL)


def show(found: dict[str, list[tuple[float, int]]]) -> None:
    """A row for each loss: the smallest file of each, and how much larger the search's is."""
    print("points lost  " + "  ".join(f"{name + f' ({len(points)})':>14}" for name, points in found.items()))
    for limit in DROPS:
        best = [min((size for drop, size in points if drop <= limit + 1e-9), default=None) for points in found.values()]
        row = f"{limit:11g}  " + "  ".join(f"{'none' if size is None else f'{size:,}':>14}" for size in best)
        if len(best) == 2 and None not in best:
            ratio = best[0] / best[1]
            row += f"   {100 * (ratio - 1):+.1f} %{'' if ratio <= TARGET else '   above the target'}"
        print(row)


if __name__ == "__main__":
    main()
