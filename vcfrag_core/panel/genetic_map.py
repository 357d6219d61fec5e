"""Genetic distance along a contig."""

from __future__ import annotations

import dataclasses

import numpy as np

from vcfrag_core.errors import GeneticMapError
from vcfrag_core.genome.contigs import contig_alias
from vcfrag_core.hashing import text_digest
from vcfrag_core.panel.panel import Panel
from vcfrag_core.shapes import repr_by_shape
from vcfrag_core.types import F64Array, I64Array, IntArray

CM_PER_MB_WITHOUT_MAP = 1.0


class GeneticMapWarning(UserWarning):
    """Genetic distances are guessed."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class GeneticMap:
    """Piecewise linear map from base pairs to centimorgan.

    Attributes:
        positions: (n,) ascending 1-based positions, n >= 2.
        cm: (n,) non-decreasing genetic positions.
        contig: The contig that it describes.
        source: Its file, or `1 cM per Mb`.
    """

    positions: I64Array
    cm: F64Array
    contig: str
    source: str = ""

    __repr__ = repr_by_shape

    def __post_init__(self) -> None:
        if len(self.positions) < 2 or len(self.positions) != len(self.cm):
            raise GeneticMapError("a genetic map needs at least two positions", path=self.source or None)
        if not bool(np.isfinite(self.cm).all()):
            raise GeneticMapError("a genetic position is not a finite number", path=self.source or None)
        if bool((np.diff(self.positions) <= 0).any()) or bool((np.diff(self.cm) < 0).any()):
            raise GeneticMapError("positions must ascend and cM must not fall", path=self.source or None)

    @classmethod
    def constant(cls, contig: str, start: int, stop: int) -> GeneticMap:
        """1 cM per Mb over positions start to stop: what is used without a map."""
        positions = np.array([start, max(stop, start + 1)], dtype=np.int64)
        cm = np.asarray(positions * CM_PER_MB_WITHOUT_MAP / 1e6, dtype=np.float64)
        return cls(positions=positions, cm=cm, contig=contig, source="1 cM per Mb")

    @property
    def digest(self) -> str:
        return text_digest(
            "map", self.contig, self.positions.astype("<i8").tobytes(), np.asarray(self.cm, dtype="<f8").tobytes()
        )

    def of_panel(self, panel: Panel) -> F64Array:
        """(V,) cM at a panel's sites.

        Raises:
            GeneticMapError: The map is of another contig.
        """
        if contig_alias(panel.contig, [self.contig]) is None:
            raise GeneticMapError(
                f"the map is of contig {self.contig}, the panel of {panel.contig}", path=self.source or None
            )
        return self.at(panel.positions)

    def at(self, positions: IntArray) -> F64Array:
        """(V,) cM at the positions; beyond the map's ends, its mean rate goes on."""
        inside = np.interp(positions, self.positions, self.cm)
        rate = (self.cm[-1] - self.cm[0]) / float(self.positions[-1] - self.positions[0])
        before = np.minimum(positions - self.positions[0], 0) * rate
        after = np.maximum(positions - self.positions[-1], 0) * rate
        return np.asarray(inside + before + after, dtype=np.float64)
