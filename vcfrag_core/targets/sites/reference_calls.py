"""Do samples have the homozygous reference calls that they must have, or does their file hold variants only?

Where a caller writes the variants of one sample, and files of several samples are merged, a call that is not there
means the reference. Taken for an unknown genotype it makes imputation believe in too many ALT alleles.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from vcfrag_core.errors import TargetError
from vcfrag_core.panel.ploidy import Ploidy
from vcfrag_core.types import BoolArray, F64Array, I8Array

# A sample is judged if so many are expected of it; it lacks them if it has less than this share.
_LEAST_EXPECTED: Final = 20.0
_LEAST_SHARE: Final = 0.05
_SAMPLES_AT_ONCE: Final = 256


def without_reference_calls(alleles: I8Array, frequency: F64Array, ploidy: Ploidy) -> BoolArray:
    """(S,) samples of two haplotypes with hardly any of the homozygous reference calls that the panel foretells.

    Those who are homozygous for ALT at most of their calls are not among them: their alleles are exchanged.

    Args:
        alleles: (Q, M) alleles at typed sites, -1 missing.
        frequency: (M,) of ALT in the panel.
        ploidy: Which haplotypes are whose.
    """
    lacking = np.zeros(ploidy.n_samples, dtype=np.bool_)
    chance = (1 - frequency) ** 2
    pairs = np.flatnonzero(ploidy.counts == 2)
    for start in range(0, len(pairs), _SAMPLES_AT_ONCE):
        some = pairs[start : start + _SAMPLES_AT_ONCE]
        first = alleles[ploidy.starts[some]]
        second = alleles[ploidy.starts[some] + 1]
        called = (first >= 0) & (second >= 0)
        expected = called @ chance
        n_reference = (called & (first == 0) & (second == 0)).sum(axis=1)
        n_alt = (called & (first == 1) & (second == 1)).sum(axis=1)
        judged = (expected >= _LEAST_EXPECTED) & (2 * n_alt < called.sum(axis=1))
        lacking[some] = judged & (n_reference < _LEAST_SHARE * expected)
    return lacking


def refuse_variants_only(
    alleles: I8Array, frequency: F64Array, ploidy: Ploidy, samples: tuple[str, ...], *, contig: str, source: str
) -> None:
    """Refuses samples of which a file holds variants only.

    Raises:
        TargetError: There are some; names the first and says how many.
    """
    lacking = np.flatnonzero(without_reference_calls(alleles, frequency, ploidy))
    if not len(lacking):
        return
    raise TargetError(
        f"{len(lacking)} of {len(samples)} samples have hardly any homozygous reference call on {contig}, this is the"
        " first: the file holds variants only, and what it leaves out is no missing genotype. Call all samples at all"
        " sites, or merge with `bcftools merge --missing-to-ref`; where calls are right as they are, --keep-going"
        " damaged goes on",
        path=source,
        sample=samples[int(lacking[0])],
    )
