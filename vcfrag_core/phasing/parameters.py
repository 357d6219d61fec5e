"""Parameters of phasing, and the one rule that chooses them from the density of the data."""

from __future__ import annotations

import dataclasses
import math

from vcfrag_core.copying.parameters import DENSE_PER_CM, SPARSE_PER_CM, CopyingParameters, parameters_for
from vcfrag_core.errors import ConfigError


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PhasingParameters:
    """How candidates are retrieved for both haplotypes of a sample, and how they are copied.

    Attributes:
        scales: Typed sites of a segment of retrieval, one number for each scale, ascending.
        k: Neighbours of every segment.
        states: Candidates K of a segment of copying in the last round; a step costs K squared.
        early_states: Candidates in the rounds before, which only say what is searched for next; as many unless given.
        rounds: How often candidates are retrieved and phases drawn.
        queries: Draws of a round whose haplotypes are the queries of the next one.
        draws: As many of the last round are made at most; a quarter of them are drawn in the rounds before.
        agreeing: So many of them make the consensus.
        integrated: Over so many imputation takes the mean unless told otherwise: what chance leaves to it then is at
            most 1 % of the expected squared error of a dosage (docs/decisions/phasing-trials.md, *What chance leaves*).
        switch_per_cm: Rate of switches between candidates in the first round; later ones have each sample's own.
        mismatch: Probability that an allele differs from the copied one, likewise.
        block_sites: At most so many sites form a block, within which nobody switches.
        block_cm: And at most so long a stretch.
        segment_sites: Typed sites after which candidates may change.
        kept: Rows copied most in a round that stay candidates of the next one.
        copy_neighbours: Whether the haploid chains of the last round copy all neighbours, beside the candidates.
    """

    scales: tuple[int, ...]
    k: int
    states: int
    switch_per_cm: float
    mismatch: float
    early_states: int | None = None
    rounds: int = 4
    queries: int = 4
    draws: int = 32
    agreeing: int = 12
    integrated: int = 8
    block_sites: int = 4
    block_cm: float = 0.005
    segment_sites: int = 16
    kept: int = 16
    copy_neighbours: bool = False

    def __post_init__(self) -> None:
        if not self.scales or list(self.scales) != sorted(set(self.scales)) or self.scales[0] < 2:
            raise ConfigError(f"scales must ascend from 2, got {self.scales}")
        if min(self.k, self.states, self.rounds, self.queries, self.segment_sites) < 1 or self.kept < 0:
            raise ConfigError("k, states, rounds, queries and segment_sites must be >= 1, and kept >= 0")
        if not 1 <= self.block_sites <= 16:
            raise ConfigError(f"block_sites must lie in [1, 16], got {self.block_sites}")
        if self.early_states is not None and self.early_states < 1:
            raise ConfigError(f"early_states must be >= 1, got {self.early_states}")
        if self.draws < max(self.queries, self.agreeing) or min(self.agreeing, self.integrated) < 1:
            raise ConfigError(
                "agreeing and integrated must be >= 1 and draws at least queries and agreeing, got"
                f" {self.agreeing}, {self.integrated}, {self.draws} and {self.queries}"
            )
        if not (self.switch_per_cm > 0 and self.block_cm >= 0 and 1e-6 <= self.mismatch < 0.5):
            raise ConfigError("switch_per_cm must be > 0, block_cm >= 0 and mismatch in [1e-6, 0.5)")

    def states_of(self, number: int) -> int:
        """Candidates of a segment in round `number`, counted from 0."""
        is_last = number == self.rounds - 1
        return self.states if is_last or self.early_states is None else self.early_states

    @property
    def retrieval(self) -> CopyingParameters:
        """What lays out the segments of retrieval."""
        return CopyingParameters(
            scales=self.scales,
            k=self.k,
            flank_cm=0.0,
            switch_per_cm=self.switch_per_cm,
            mismatch=self.mismatch,
        )


def phasing_parameters_for(typed_per_cm: float) -> PhasingParameters:
    """The parameters for targets typed at so many sites per centimorgan.

    Switches and mismatches start as those of copying, `parameters_for`. Where typed sites are dense, fewer candidates,
    queries and rounds and longer segments do, and the chains of the last round copy all neighbours; where they are
    sparse, half of the candidates do in the rounds before the last.

    Raises:
        ConfigError: A density that is not positive.
    """
    copying = parameters_for(typed_per_cm)
    share = math.log(typed_per_cm / SPARSE_PER_CM) / math.log(DENSE_PER_CM / SPARSE_PER_CM)
    share = min(1.0, max(0.0, share))
    return PhasingParameters(
        scales=tuple(round(sites * 4**share) for sites in (16, 64, 256)),
        k=round(24 * 0.5**share),
        states=max(96, round(192 * 0.25**share)),
        early_states=96,
        switch_per_cm=copying.switch_per_cm,
        mismatch=copying.mismatch,
        rounds=round(4 - share),
        queries=round(4 - 2 * share),
        block_sites=round(4 + 4 * share),
        copy_neighbours=share >= 0.25,
    )
