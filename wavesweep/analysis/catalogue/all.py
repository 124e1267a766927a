"""All studies, by name."""

from collections.abc import Mapping

from wavesweep.analysis.catalogue import (
    charter,
    deep_compression_densenet,
    do_wavelets_help,
    fashion_tiny_prune,
    wavelet_vs_magnitude,
    weight_vs_unit,
)
from wavesweep.analysis.catalogue.study import Study

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
