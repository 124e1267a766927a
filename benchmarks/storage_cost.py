"""What a trial of a search costs beyond its computation, per storage of the study: asking, signing and telling.

    python benchmarks/storage_cost.py [--postgresql postgresql://user@host/database]

Prints milliseconds per trial over 100 trials of random search, and of TPE, which looks at all trials so far.
"""

import argparse
import tempfile
import time
from functools import partial
from pathlib import Path
from uuid import uuid4

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution

from wavesweep.runtime.study_storage import open_storage
from wavesweep.sweep.search.conditions import Tree
from wavesweep.sweep.search.samplers import make_sampler
from wavesweep.sweep.search.study import Description, joined

TREE = Tree({"level": CategoricalDistribution([1, 2, 3, 4]), "threshold.percentile": FloatDistribution(40.0, 99.0)})
TRIALS = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--postgresql", help="URL of a database that may be filled")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with tempfile.TemporaryDirectory() as directory:
        urls = {"SQLite": f"sqlite:///{directory}/study.db", "journal": f"journal://{directory}/study.log"}
        if options.postgresql:
            urls["PostgreSQL"] = options.postgresql
        for name, url in urls.items():
            found = {sampler: milliseconds(url, Path(directory) / name, sampler) for sampler in ("random", "tpe")}
            print(f"{name:12} {found['random']:6.1f} ms per trial, with TPE {found['tpe']:6.1f} ms", flush=True)


def milliseconds(url: str, directory: Path, sampler: str) -> float:
    description = Description(("maximize", "minimize"), ("accuracy", "stored_bytes"), {}, {})
    make = partial(make_sampler, sampler, 0, tree=TREE)
    name = f"{sampler}-{uuid4().hex}"
    with joined(name, directory / name, partial(open_storage, url), make, description) as study:
        started = time.perf_counter()
        for number in range(TRIALS):
            with study.locked():
                study.requeue_lost()
                study.counts()
                trial = study.ask(TREE)
                trial.set_user_attr("key", f"{number:016x}")
            with study.locked():
                study.attribute(trial.number, "measures", {"accuracy": 0.9, "stored_bytes": 1000, "reference": [0, 1]})
                percentile = trial.params["threshold.percentile"]
                study.tell(trial.number, [1 - percentile / 200, 1000 - percentile])
        return 1000 * (time.perf_counter() - started) / TRIALS


if __name__ == "__main__":
    main()
