"""Target samples in a panel's coding: what imputation is given."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Final, Self

import numpy as np

from vcfrag_core.errors import PanelMismatchError, RangeError, ShapeError
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.ploidy import Ploidy
from vcfrag_core.retrieval.queries import EXTERNAL, External
from vcfrag_core.shapes import repr_by_shape
from vcfrag_core.types import BoolArray, I8Array, I32Array, IntArray

_ALLELES: Final = "target alleles are 0, 1 or -1 in an array of signed integers"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """Target samples at a panel's sites.

    Attributes:
        samples: S names.
        ploidy: Which haplotypes are whose.
        alleles: (Q, V) alleles, -1 where not typed or missing.
        observed: (V,) sites at which the samples are typed.
        names: Q names of panel samples, whose exclusion groups are not retrieved, or EXTERNAL.
        phase_sets: (S, V) number of each heterozygote's phase set, UNPHASED where nobody knows which haplotype carries
            which allele and the order of the two says nothing. Phase is known within a set only; None where each
            sample has one.
        panel_digest: Of the panel that they were read for; "" where they were not read for any.
    """

    samples: tuple[str, ...]
    ploidy: Ploidy
    alleles: I8Array
    observed: BoolArray
    names: tuple[str | External, ...]
    phase_sets: I32Array | None = None
    panel_digest: str = ""

    __repr__ = repr_by_shape

    def __post_init__(self) -> None:
        _refuse_other_types(self.alleles, "i", _ALLELES)
        _refuse_other_types(self.observed, "b", "what is observed is an array of booleans")
        n_queries = self.ploidy.n_haplotypes
        if len(self.samples) != self.ploidy.n_samples:
            raise ShapeError(f"{len(self.samples)} samples, ploidy of {self.ploidy.n_samples}")
        if self.alleles.shape != (n_queries, len(self.observed)) or len(self.names) != n_queries:
            raise ShapeError(
                f"{len(self.samples)} samples and {len(self.observed)} sites: alleles {self.alleles.shape}, "
                f"{len(self.names)} names"
            )
        if self.phase_sets is not None and self.phase_sets.shape != (len(self.samples), len(self.observed)):
            raise ShapeError(f"{len(self.samples)} samples: phase sets are {self.phase_sets.shape}")

    def require_panel(self, panel: Panel) -> None:
        """Refuses another panel than the one that they were read for: its sites are others, however many.

        Raises:
            PanelMismatchError: It is another.
        """
        if self.panel_digest and self.panel_digest != panel.digest:
            raise PanelMismatchError(
                f"the targets were read for another panel than {panel.source or panel.contig}; read them for this one"
            )

    def named_in(self, panel: Panel) -> Self:
        """These, of which those under a panel sample's very name are told to be that one."""
        known = set(panel.samples)
        rows = zip(self.names, self.ploidy.of_haplotypes(self.samples), strict=True)
        names = tuple(sample if who is EXTERNAL and sample in known else who for who, sample in rows)
        return self if names == self.names else dataclasses.replace(self, names=names)

    @classmethod
    def from_haplotypes(
        cls, alleles: IntArray, *, samples: Sequence[str] | None = None, ploidy: Ploidy | None = None
    ) -> Targets:
        """Targets from (Q, V) alleles, -1 where not typed.

        A site is observed where anybody has a call. Each two haplotypes in turn are a sample unless `ploidy` is given.
        Who has the name of a panel's sample is not imputed from it; the others are taken for people outside the panel.

        Raises:
            RangeError: An allele is not 0, 1 or -1.
        """
        _refuse_other_types(alleles, "i", _ALLELES)
        if alleles.size and (int(alleles.min()) < -1 or int(alleles.max()) > 1):
            raise RangeError("target alleles are 0, 1 or -1")
        ploidy = Ploidy.of_rows(len(alleles), ploidy)
        names = tuple(samples) if samples is not None else tuple(f"T{i:04d}" for i in range(ploidy.n_samples))
        return cls(
            samples=names,
            ploidy=ploidy,
            alleles=alleles.astype(np.int8),
            observed=np.asarray((alleles >= 0).any(axis=0)),
            names=(EXTERNAL,) * len(alleles),
        )


def _refuse_other_types(array: IntArray | BoolArray, kind: str, what: str) -> None:
    """Refuses what would be cut to whole numbers, what has no -1, and what is no array.

    Raises:
        RangeError: It is not of NumPy's kind wanted.
    """
    dtype = getattr(array, "dtype", None)
    if dtype is None or dtype.kind != kind:
        raise RangeError(f"{what}, got {dtype or type(array).__name__}")
