"""All studies, by name."""

from collections.abc import Mapping

from wavesweep.analysis.studies.catalogue import (
    charter,
    deep_compression_densenet,
    do_wavelets_help,
    fashion_tiny_prune,
    wavelet_vs_magnitude,
    weight_vs_unit,
)
from wavesweep.analysis.studies.study import Study
from wavesweep.analysis.table.outputs import WrongArgumentError

STUDIES: Mapping[str, Study] = {
    study.name: study
    for study in (
        weight_vs_unit.STUDY,
        wavelet_vs_magnitude.STUDY,
        deep_compression_densenet.STUDY,
        fashion_tiny_prune.STUDY,
        charter.STUDY,
        do_wavelets_help.STUDY,
    )
}


def study_named(name: str) -> Study:
    """The study of that name.

    Raises:
        WrongArgumentError: there is none.
    """
    if name in STUDIES:
        return STUDIES[name]
    given = f"{name} is no study" if name else "no study is named"
    raise WrongArgumentError(f"{given}; choose one of {', '.join(STUDIES)}: python -m analysis.study NAME outputs/")
