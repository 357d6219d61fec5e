"""How often the haplotypes of a sample switch and mismatch: counted along the paths that its draws copied."""

from __future__ import annotations

import dataclasses

from vcfrag_core.phasing.diploid.kernels import DiploidModel, count_mismatches
from vcfrag_core.phasing.parameters import PhasingParameters
from vcfrag_core.types import F64Array, I8Array, I32Array

# What the rates of the rule count as, before a sample's own paths are looked at.
PRIOR_CM = 1.0
PRIOR_ALLELES = 300.0
_MIN_MISMATCH = 2e-5


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PathRates:
    """Rates of one sample.

    Attributes:
        switch_per_cm: Of switches between candidates.
        mismatch: Probability that an allele differs from the copied one.
    """

    switch_per_cm: float
    mismatch: float


def prior_rates(parameters: PhasingParameters) -> PathRates:
    """Those of the first round, in which nothing is known of a sample."""
    return PathRates(switch_per_cm=parameters.switch_per_cm, mismatch=parameters.mismatch)


def rates_of_paths(
    model: DiploidModel, steps_cm: F64Array, phases: I8Array, copied: I32Array, parameters: PhasingParameters
) -> PathRates:
    """The rates that a sample's draws have, a step of EM with a conjugate prior at the rates of the parameters.

    Args:
        model: The sample.
        steps_cm: (B,) distance of each block from the one before.
        phases: (D, M) alleles of the first haplotype.
        copied: (D, B, 2) rows that both copy.
        parameters: Their rates are the prior's.
    """
    length = 2 * float(steps_cm.sum())
    switches = float((copied[:, 1:] != copied[:, :-1]).sum()) / len(copied)
    wrong, alleles = count_mismatches(model.words, model.blocks, model.genotypes, phases, copied)
    mismatch = (PRIOR_ALLELES * parameters.mismatch + wrong / len(copied)) / (PRIOR_ALLELES + alleles / len(copied))
    return PathRates(
        switch_per_cm=(PRIOR_CM * parameters.switch_per_cm + switches) / (PRIOR_CM + length),
        mismatch=max(mismatch, _MIN_MISMATCH),
    )
