"""A sample on its way through the rounds of phasing, and the haplotypes that it may copy."""

from __future__ import annotations

import dataclasses

import numpy as np

from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.split import Split
from vcfrag_core.phasing.rates import PathRates
from vcfrag_core.phasing.refinement import ChainRows
from vcfrag_core.retrieval.queries import External, SearchResult
from vcfrag_core.targets.target_reference import TargetReference
from vcfrag_core.types import F32Array, I8Array, I32Array, I64Array, U64Array

_WORD = 64


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PhasingReference:
    """Haplotypes that may be copied, at the typed sites, and a search among them.

    Attributes:
        panel: They as a panel.
        words: (H, W) their alleles.
        split: Whose they are.
        targets: Targets among them, behind `n_before` rows of the panel.
        n_before: Rows of the panel.
    """

    panel: Panel
    words: U64Array
    split: Split
    targets: TargetReference | None
    n_before: int

    @classmethod
    def of(cls, panel: Panel, split: Split, targets: TargetReference | None = None) -> PhasingReference:
        n_before = panel.n_haplotypes
        if targets is not None:
            panel, split = targets.join(panel, split)
        width = -(-panel.n_sites // _WORD) * (_WORD // 8)
        padded = np.zeros((panel.n_haplotypes, width), dtype=np.uint8)
        padded[:, : panel.packed.shape[1]] = panel.packed
        return cls(panel=panel, words=padded.view("<u8"), split=split, targets=targets, n_before=n_before)


@dataclasses.dataclass(slots=True)
class PhasingSample:
    """One sample on its way.

    Attributes:
        number: Which of the targets it is.
        name: What it is called when neighbours are searched.
        genotypes: (M,) ALT copies, -1 missing.
        first: (M,) allele of the first haplotype where its phase is known, else -1.
        set_starts: Sites of known phase at which another phase set begins than the one before.
        key: Of its random numbers.
        phases: (D, M) alleles of the first haplotype in the last round's draws; before the last round the first one is
            the likeliest phase near their consensus.
        copied: (C, E) rows that they copied most.
        rates: Of switches and mismatches, from the draws of the last round.
        chain_rows: Candidates of all rounds.
        agreed: (n,) allele of the first haplotype at heterozygotes in consensus phase.
        probability: (n,) of its lying so to the one before.
        hidden: Rows that it is not shown, beside those of its exclusion group.
        own: Its own rows among the reference.
        first_round: Number of the round that it starts with.
        homozygous: The answer to the query without heterozygotes, which every round asks.
    """

    number: int
    name: str | External
    genotypes: I8Array
    first: I8Array
    set_starts: I64Array
    key: int
    phases: I8Array
    copied: I32Array
    rates: PathRates
    chain_rows: ChainRows | None
    agreed: I8Array
    probability: F32Array
    hidden: I32Array
    own: I32Array
    first_round: int
    homozygous: SearchResult | None

    def queries(self, n_draws: int) -> I8Array:
        """(Q, M) what is searched for: the haplotypes of some draws, and once the sample without its heterozygotes."""
        drawn = self.phases[:n_draws]
        haplotypes = np.concatenate([drawn, self.genotypes - drawn])
        if self.homozygous is None:
            haplotypes = np.concatenate([haplotypes, np.where(self.genotypes == 1, -1, self.genotypes // 2)[None]])
        haplotypes[:, self.genotypes < 0] = -1
        return haplotypes.astype(np.int8)

    def answered(self, found: SearchResult) -> SearchResult:
        """The answer to `queries`, with that to the query without heterozygotes, asked now or before, as the last."""
        before, k = self.homozygous, found.ids.shape[2]
        if before is not None:
            found = dataclasses.replace(
                found,
                ids=np.concatenate([found.ids, before.ids[:, :, :k]], axis=1),
                distances=np.concatenate([found.distances, before.distances[:, :, :k]], axis=1),
            )
        self.homozygous = dataclasses.replace(
            found, ids=found.ids[:, -1:].copy(), distances=found.distances[:, -1:].copy()
        )
        return found

    def meet(self, reference: PhasingReference, sample: str, name: str | External) -> None:
        """Goes on with another reference.

        Args:
            reference: It.
            sample: What the sample is called.
            name: The panel sample that it is, or EXTERNAL.
        """
        self.name = name
        self.homozygous = None
        targets, n_before = reference.targets, reference.n_before
        if targets is not None:
            self.name = targets.query_name(sample, name)
            self.own = targets.own_rows(sample, n_before)
            self.hidden = np.concatenate([self.own, targets.rows_like(sample, self.genotypes, n_before)])

    def rest(self, n_draws: int) -> None:
        """Keeps what the next round needs, under whatever reference; a cohort of samples waits for it.

        Args:
            n_draws: Draws that are queries then.
        """
        self.phases = self.phases[:n_draws].copy()
        # Their numbers are those of the reference before.
        self.chain_rows = None

    def start_from(self, haplotypes: I8Array, first_round: int) -> None:
        """Starts with a phase that was found before, and not with the first round.

        Args:
            haplotypes: (2, M) alleles.
            first_round: Number of the round that it starts with.
        """
        is_het = self.genotypes == 1
        self.phases = np.where(is_het, haplotypes[0], self.genotypes == 2).astype(np.int8)[None]
        self.first_round = first_round
