"""Are most genotypes of a file coded the other way round? Neighbours do not tell, which are so, too."""

from __future__ import annotations

from typing import Final

import numpy as np

from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.ploidy import Ploidy
from vcfrag_core.targets.evenly import evenly
from vcfrag_core.targets.sites.site_evidence import site_evidence
from vcfrag_core.types import BoolArray, F64Array, I8Array, I64Array

# Frequencies must say so by this much, over all sites together.
_LEAST_NATS: Final = 30.0
_COMMON: Final = 0.05
_MAX_SITES: Final = 512
_MAX_SAMPLES: Final = 16
_MAX_HAPLOTYPES: Final = 2000


def is_coded_inversely(alleles: I8Array, ploidy: Ploidy, panel: Panel, sites: I64Array, frequency: F64Array) -> bool:
    """Whether 0 and 1 look exchanged in the genotypes at most typed sites.

    The cohort's frequencies must fit the panel's better so, and so must its haplotypes: somebody who is homozygous for
    a rare haplotype has unlike frequencies alone. A sample's genotypes fit a haplotype as far as it is nowhere
    homozygous for the other allele, and 16 samples at 512 common sites are looked at.

    Args:
        alleles: (Q, M) alleles at the typed sites, -1 missing; phase does not matter.
        ploidy: Which haplotypes are whose.
        panel: The panel.
        sites: (M,) typed sites.
        frequency: (M,) of ALT in the panel.
    """
    evidence = site_evidence(alleles, frequency, panel.n_haplotypes, np.zeros(len(sites), dtype=np.bool_))
    if float(evidence.frequency.sum()) > -_LEAST_NATS:
        return False
    common = np.flatnonzero(np.minimum(frequency, 1 - frequency) >= _COMMON)
    first = max(0, (len(common) - _MAX_SITES) // 2)
    common = common[first : first + _MAX_SITES]
    reference = panel.bits.alleles(sites[common], evenly(np.arange(panel.n_haplotypes), _MAX_HAPLOTYPES))
    as_they_are = inversely = 0
    for sample in evenly(np.arange(ploidy.n_samples), _MAX_SAMPLES).tolist():
        rows = ploidy.rows(np.array([sample]))
        here = alleles[np.ix_(rows, common)]
        homozygous = (here[0] == here[-1]) & (here[0] >= 0)
        differs = reference != here[0]
        as_they_are += _longest(homozygous & differs)
        inversely += _longest(homozygous & ~differs)
    return inversely > as_they_are


def _longest(conflicts: BoolArray) -> int:
    """The longest run of sites without a conflict that any (H, M) haplotype has."""
    place = np.arange(conflicts.shape[1], dtype=np.int32)
    last = np.maximum.accumulate(np.where(conflicts, place, np.int32(-1)), axis=1)
    return int((place - last).max(initial=0))
