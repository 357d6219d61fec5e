"""What phasing gives back: one consensus phase, draws from the posterior, and how sure each heterozygote is."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from vcfrag_core.hashing import text_digest
from vcfrag_core.panel import bits
from vcfrag_core.shapes import repr_by_shape
from vcfrag_core.targets.targets import Targets
from vcfrag_core.types import F32Array, I8Array, I64Array, U8Array


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Phased:
    """Phased targets.

    Attributes:
        targets: The targets in consensus phase.
        sites: (M,) the panel's sites that are typed.
        probability: (S, M) probability of each heterozygote's phase against the heterozygote before; NaN elsewhere,
            and in samples whose phase was known.
        drawn: For each sample (D, ceil(M / 8)) packed alleles of the first haplotype in D draws, none where the phase
            was known.
    """

    targets: Targets
    sites: I64Array
    probability: F32Array
    drawn: tuple[U8Array | None, ...]

    __repr__ = repr_by_shape

    @property
    def digest(self) -> str:
        """Of the consensus and the draws."""
        return phase_digest(self.targets.alleles[:, self.sites], self.drawn)

    @property
    def is_drawn(self) -> bool:
        """Whether anybody's phase was not known."""
        return any(drawn is not None for drawn in self.drawn)

    @property
    def phased_samples(self) -> list[int]:
        """Numbers of the samples whose phase was not known."""
        return [sample for sample, drawn in enumerate(self.drawn) if drawn is not None]

    def n_draws(self, sample: int) -> int:
        """Draws that stand for a sample; 1 where its phase was known."""
        drawn = self.drawn[sample]
        return 1 if drawn is None else len(drawn)

    def consensus_of(self, sample: int) -> I8Array:
        """(1 or 2, M) alleles of a sample in consensus phase, -1 missing."""
        span = self.targets.ploidy.span(sample)
        return self.targets.alleles[span.start : span.stop, self.sites]

    def draws_of(self, sample: int) -> I8Array:
        """(D, 1 or 2, M) alleles of a sample in each of its draws, -1 missing."""
        agreed = self.consensus_of(sample)
        drawn = self.drawn[sample]
        if drawn is None:
            return agreed[None]
        first = bits.unpack(drawn, 0, len(self.sites)).astype(np.int8)
        missing = (agreed < 0).any(axis=0)
        pairs = np.stack([first, agreed.sum(axis=0) - first], axis=1)
        return np.where(missing, agreed, pairs).astype(np.int8)


def phase_digest(alleles: I8Array, drawn: Sequence[U8Array | None]) -> str:
    """Of a consensus and the draws.

    Args:
        alleles: (Q, M) alleles at the typed sites, in consensus phase.
        drawn: Each sample's draws.
    """
    return text_digest("phased", alleles.tobytes(), *(b"" if each is None else each.tobytes() for each in drawn))
