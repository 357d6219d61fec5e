"""Phasing in rounds: candidates for the current haplotypes, diploid copying from them, draws from its posterior."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from vcfrag_core.copying.parameters import density
from vcfrag_core.errors import RangeError
from vcfrag_core.hashing import text_digest
from vcfrag_core.panel import bits
from vcfrag_core.panel.genetic_map import GeneticMap
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.ploidy import Ploidy
from vcfrag_core.panel.split import Split
from vcfrag_core.phasing.consensus import consensus, heterozygotes
from vcfrag_core.phasing.kernels import DiploidModel, draw_phases
from vcfrag_core.phasing.parameters import PhasingParameters, phasing_parameters_for
from vcfrag_core.phasing.phased import Phased
from vcfrag_core.phasing.ranking import most_copied, rank_candidates, settle_places
from vcfrag_core.phasing.rates import PathRates, prior_rates, rates_of_paths
from vcfrag_core.phasing.refinement import ChainRows, chain_model, likeliest, phase_sets, redrawn
from vcfrag_core.phasing.stretches import Stretches, lay_stretches, switch_probabilities
from vcfrag_core.retrieval import site_weights
from vcfrag_core.retrieval.queries import External, QueryBlock, SearchResult
from vcfrag_core.targets.calls import UNPHASED
from vcfrag_core.targets.targets import Targets
from vcfrag_core.types import BoolArray, F32Array, F64Array, I8Array, I32Array, I64Array, U8Array, U64Array
from vcfrag_core.window.local import LocalRetriever
from vcfrag_core.window.random import ReferenceRows
from vcfrag_core.window.retriever import IndexSpec

SAMPLES_AT_ONCE = 32
_WORD = 64


@dataclasses.dataclass(slots=True)
class _Sample:
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

    def queries(self, n_draws: int) -> I8Array:
        """(Q, M) what is searched for: the haplotypes of some draws, and the sample without its heterozygotes."""
        known = np.where(self.genotypes == 1, -1, self.genotypes // 2)
        missing = self.genotypes < 0
        drawn = self.phases[:n_draws]
        haplotypes = np.concatenate([drawn, self.genotypes - drawn])
        haplotypes[:, missing] = -1
        return np.concatenate([haplotypes, np.where(missing, -1, known)[None]]).astype(np.int8)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Reference:
    """Haplotypes that may be copied, at the typed sites, and a search among them.

    Attributes:
        panel: They as a panel.
        words: (H, W) their alleles.
        split: Whose they are.
    """

    panel: Panel
    words: U64Array
    split: Split

    @classmethod
    def of(cls, panel: Panel, split: Split) -> _Reference:
        width = -(-panel.n_sites // _WORD) * (_WORD // 8)
        padded = np.zeros((panel.n_haplotypes, width), dtype=np.uint8)
        padded[:, : panel.packed.shape[1]] = panel.packed
        return cls(panel=panel, words=padded.view("<u8"), split=split)


class Phaser:
    """Phases targets against a panel.

    Args:
        panel: The panel.
        genetic_map: Its genetic map.
        parameters: Chosen by the density of the typed sites unless given.
        groups: Exclusion group of panel samples; each is its own group unless given.
        threads: Threads of search and copying; the result does not depend on them.
        seed: Of the draws, with each sample's name.
    """

    def __init__(
        self,
        panel: Panel,
        genetic_map: GeneticMap,
        *,
        parameters: PhasingParameters | None = None,
        groups: Mapping[str, str] | None = None,
        threads: int = 1,
        seed: int = 1,
    ) -> None:
        self.panel = panel
        self.cm: F64Array = genetic_map.at(panel.positions)
        self._parameters = parameters
        self._groups = {name: (groups or {}).get(name, name) for name in panel.samples}
        self._threads = threads
        self._seed = seed

    def parameters(self, observed: BoolArray) -> PhasingParameters:
        """The parameters in force for this mask: those given, or the rule's.

        Raises:
            RangeError: Nothing is typed.
        """
        if self._parameters is not None:
            return self._parameters
        if not bool(observed.any()):
            raise RangeError("no site is typed: there is nothing to phase")
        return phasing_parameters_for(density(observed, self.cm))

    def phase(self, targets: Targets, *, draws: int = 1) -> Phased:
        """Phases the samples that have unphased heterozygotes; others stay as they are.

        A sample's draws follow from its genotypes, its name, the panel and the parameters: neither other samples nor
        the number of threads nor `draws` change them.

        Args:
            targets: The targets.
            draws: Draws from the posterior to keep, besides the consensus.

        Raises:
            RangeError: Nothing is typed, more draws than are made, or a sample is of a group with the whole panel.
        """
        parameters = self.parameters(targets.observed)
        if not 1 <= draws <= parameters.draws:
            raise RangeError(f"1 to {parameters.draws} draws can be kept, got {draws}")
        sites = np.flatnonzero(targets.observed)
        run = _Run(self._reference(sites), parameters, self.cm[sites], self._threads, draws)
        alleles = targets.alleles.copy()
        probability = np.full((len(targets.samples), len(sites)), np.nan, dtype=np.float32)
        drawn: list[U8Array | None] = [None] * len(targets.samples)
        for sample in run.phased(self._samples(targets, sites, prior_rates(parameters))):
            hets = heterozygotes(sample.genotypes)
            probability[sample.number, hets] = sample.probability
            first = (sample.genotypes == 2).astype(np.int8)
            first[hets] = sample.agreed
            second = sample.genotypes - first
            pair = targets.ploidy.rows([sample.number])
            alleles[np.ix_(pair, sites)] = np.where(sample.genotypes < 0, -1, np.stack([first, second]))
            drawn[sample.number] = bits.pack(np.where(sample.genotypes < 0, 0, sample.phases[:draws]).astype(np.uint8))
        return Phased(
            targets=dataclasses.replace(targets, alleles=alleles, phase_sets=None),
            sites=sites,
            probability=probability,
            drawn=tuple(drawn),
        )

    def _reference(self, sites: I64Array) -> _Reference:
        split = Split(name="phase", reference=self.panel.samples, groups=self._groups)
        return _Reference.of(self.panel.select_sites(sites), split)

    def _samples(self, targets: Targets, sites: I64Array, rates: PathRates) -> list[_Sample]:
        """The samples that are to be phased."""
        if targets.phase_sets is None:
            return []
        chosen = []
        for s in np.flatnonzero(targets.ploidy.counts == 2).tolist():
            pair = targets.ploidy.span(s)
            one, other = targets.alleles[pair.start, sites], targets.alleles[pair.stop - 1, sites]
            genotypes = np.where((one < 0) | (other < 0), -1, one + other).astype(np.int8)
            sets = np.where(genotypes == 1, targets.phase_sets[s, sites], UNPHASED)
            if not _is_open(sets[genotypes == 1]):
                continue
            known = sets != UNPHASED
            digest = text_digest("phase", str(self._seed), self.panel.contig, targets.samples[s])
            chosen.append(
                _Sample(
                    number=s,
                    name=targets.names[pair.start],
                    genotypes=genotypes,
                    first=np.where(known, one, -1).astype(np.int8),
                    set_starts=_set_starts(sets),
                    key=int(digest[:15], 16),
                    phases=np.zeros((0, len(sites)), dtype=np.int8),
                    copied=np.zeros((0, 0), dtype=np.int32),
                    rates=rates,
                    chain_rows=None,
                    agreed=np.zeros(0, dtype=np.int8),
                    probability=np.zeros(0, dtype=np.float32),
                )
            )
        return chosen


class _Run:
    """Rounds over samples, a few at a time."""

    def __init__(
        self, reference: _Reference, parameters: PhasingParameters, cm: F64Array, threads: int, draws: int
    ) -> None:
        self._reference = reference
        self._parameters = parameters
        self._cm = cm
        self._stretches = lay_stretches(cm, parameters)
        self._threads = threads
        self._n_kept = max(draws, parameters.agreeing)
        panel = reference.panel
        self._rows = ReferenceRows(panel, reference.split)
        observed = np.ones(panel.n_sites, dtype=np.bool_)
        weights = site_weights.quantise(np.ones(panel.n_sites))
        self._spec = IndexSpec.of(
            panel.digest, split=reference.split, observed=observed, weights=weights, parameters=parameters.retrieval
        )

    def phased(self, samples: Sequence[_Sample]) -> Iterator[_Sample]:
        """The samples with the draws of the last round."""
        if not samples:
            return
        with LocalRetriever(self._reference.panel, threads=self._threads) as retriever:
            index = retriever.open(self._spec)
            with ThreadPoolExecutor(self._threads) as pool:
                for begin in range(0, len(samples), SAMPLES_AT_ONCE):
                    some = samples[begin : begin + SAMPLES_AT_ONCE]
                    for number in range(self._parameters.rounds):
                        queries = [sample.queries(self._parameters.queries) for sample in some]
                        k = self._parameters.k * (1 if number else 2)
                        found = index.search(self._block(some, queries), k)
                        n_queries = len(queries[0])
                        jobs = [
                            pool.submit(self._draw, sample, number, _part(found, i * n_queries, n_queries))
                            for i, sample in enumerate(some)
                        ]
                        for job in jobs:
                            job.result()
                    yield from some

    def _block(self, some: Sequence[_Sample], queries: Sequence[I8Array]) -> QueryBlock:
        n_sites = self._reference.panel.n_sites
        return QueryBlock(
            start=0,
            stop=n_sites,
            samples=tuple(sample.name for sample, mine in zip(some, queries, strict=True) for _ in mine),
            observed=np.ones(n_sites, dtype=np.bool_),
            alleles=np.concatenate(queries),
        )

    def _draw(self, sample: _Sample, number: int, found: SearchResult) -> None:
        """One round of one sample."""
        parameters = self._parameters
        stretches, fresh = self._divided(sample)
        last = number == parameters.rounds - 1
        candidates = self._candidates(sample, found, stretches, parameters.states_of(number))
        n_draws = parameters.draws if last else max(parameters.queries, parameters.draws // 4)
        n_blocks = len(stretches.blocks) - 1
        phases = np.zeros((n_draws, len(sample.genotypes)), dtype=np.int8)
        phases[:, sample.genotypes == 2] = 1
        copied = np.empty((n_draws, n_blocks, 2), dtype=np.int32)
        model = DiploidModel(
            words=self._reference.words,
            candidates=candidates,
            blocks=stretches.blocks,
            segments=stretches.segments,
            groups=stretches.groups,
            genotypes=sample.genotypes,
            first=sample.first,
            fresh=fresh,
            switch=switch_probabilities(stretches.steps_cm, sample.rates.switch_per_cm),
            mismatch=sample.rates.mismatch,
        )
        draw_phases(model, sample.key + number, phases, copied)
        sample.phases = phases
        sample.rates = rates_of_paths(model, stretches.steps_cm, phases, copied, parameters)
        sample.copied = np.empty((len(candidates), parameters.kept), dtype=np.int32)
        most_copied(copied, stretches.segments, len(self._reference.words), sample.copied)
        self._refine(sample, number, stretches, candidates)

    def _refine(self, sample: _Sample, number: int, stretches: Stretches, candidates: I32Array) -> None:
        """The draws of the last round are drawn anew under all rows; before, the likeliest phase becomes the first."""
        words = self._reference.words
        sample.chain_rows = sample.chain_rows or ChainRows.none(len(stretches.windows) - 1, len(words))
        sample.chain_rows.add(candidates, stretches, len(words))
        known = sample.first, sample.set_starts
        sets, rows = phase_sets(*known), sample.chain_rows
        model = chain_model(words, rows, stretches, self._cm, sample.genotypes, *known, sample.rates)
        if number == self._parameters.rounds - 1:
            sample.phases = sample.phases[: self._n_kept]
            sample.agreed, sample.probability = redrawn(
                model, sample.key + number, sample.phases, self._parameters.agreeing, sets
            )
            return
        hets = heterozygotes(sample.genotypes)
        middle = sample.phases[0].copy()
        middle[hets], _ = consensus(sample.phases[:, hets], [np.searchsorted(hets, mine) for mine in sets])
        sample.phases = np.concatenate([likeliest(model, middle)[None], sample.phases[:-1]])

    def _divided(self, sample: _Sample) -> tuple[Stretches, I8Array]:
        """The divisions of the sites, and where a phase set begins."""
        starts = sample.set_starts
        stretches = self._stretches if not len(starts) else lay_stretches(self._cm, self._parameters, borders=starts)
        fresh = np.zeros(len(stretches.blocks) - 1, dtype=np.int8)
        fresh[np.searchsorted(stretches.blocks, starts)] = 1
        return stretches, fresh

    def _candidates(self, sample: _Sample, found: SearchResult, stretches: Stretches, states: int) -> I32Array:
        allowed = self._rows.shown_to(sample.name)
        if not len(allowed):
            raise RangeError(
                f"the whole panel is of the group of {sample.name}: there is nobody to copy its phase from"
            )
        n_rows = len(self._reference.words)
        n_segments = len(stretches.segments) - 1
        candidates = np.empty((n_segments, min(states, len(allowed))), dtype=np.int32)
        copied = sample.copied if len(sample.copied) else np.full((n_segments, 0), -1, dtype=np.int32)
        rank_candidates(
            found.ids,
            found.starts,
            found.stops,
            (found.stops - found.starts).astype(np.float32),
            stretches.middles,
            copied,
            allowed,
            n_rows,
            candidates,
        )
        settle_places(candidates, n_rows)
        return candidates


def unphased_samples(alleles: I8Array, ploidy: Ploidy, phase_sets: I32Array) -> BoolArray:
    """(S,) samples with heterozygotes that may lie to each other in more than one way.

    Args:
        alleles: (Q, M) alleles, -1 missing.
        ploidy: Whose haplotypes are whose.
        phase_sets: (S, M) phase set of each heterozygote, UNPHASED where its phase is not known.
    """
    made = np.zeros(ploidy.n_samples, dtype=np.bool_)
    for sample in np.flatnonzero(ploidy.counts == 2).tolist():
        first, second = alleles[list(ploidy.span(sample))]
        made[sample] = _is_open(phase_sets[sample, (first >= 0) & (second >= 0) & (first != second)])
    return made


def _is_open(sets: I32Array) -> bool:
    """Whether heterozygotes of these phase sets may lie to each other in more than one way."""
    return bool(len(sets)) and bool((sets == UNPHASED).any() or (sets != sets[0]).any())


def _set_starts(sets: I32Array) -> I64Array:
    """Sites of known phase that are of another set than the one of known phase before; sets are not taken up again."""
    known = np.flatnonzero(sets != UNPHASED)
    changes = np.diff(sets[known], prepend=UNPHASED) != 0
    return np.asarray(known[changes])


def _part(found: SearchResult, first: int, n_queries: int) -> SearchResult:
    """The answer to some of the queries."""
    here = slice(first, first + n_queries)
    return dataclasses.replace(
        found,
        ids=np.ascontiguousarray(found.ids[:, here]),
        distances=np.ascontiguousarray(found.distances[:, here]),
    )
