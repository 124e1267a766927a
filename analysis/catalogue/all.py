"""All studies, by name."""

from collections.abc import Mapping

from analysis.catalogue import charter, fashion_tiny_prune, weight_vs_unit
from analysis.catalogue.study import Study

STUDIES: Mapping[str, Study] = {
    study.name: study for study in (weight_vs_unit.STUDY, fashion_tiny_prune.STUDY, charter.STUDY)
}
