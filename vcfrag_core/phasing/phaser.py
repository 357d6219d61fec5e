"""Phasing in rounds: candidates for the current haplotypes, diploid copying from them, draws from its posterior."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor

import numpy as np

from vcfrag_core.copying.parameters import density
from vcfrag_core.errors import RangeError, SplitMismatchError
from vcfrag_core.hashing import text_digest
from vcfrag_core.panel import bits
from vcfrag_core.panel.genetic_map import GeneticMap
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.split import Split
from vcfrag_core.phasing.consensus import consensus, heterozygotes
from vcfrag_core.phasing.diploid.kernels import DiploidModel, draw_phases
from vcfrag_core.phasing.parameters import PhasingParameters, phasing_parameters_for
from vcfrag_core.phasing.phase_sets import is_open, set_starts, without_overlaps
from vcfrag_core.phasing.phased import Phased
from vcfrag_core.phasing.ranking import most_copied, rank_candidates, settle_places
from vcfrag_core.phasing.rates import prior_rates, rates_of_paths
from vcfrag_core.phasing.refinement import ChainRows, chain_model, likeliest, phase_sets, redrawn
from vcfrag_core.phasing.representatives import DRAWN_PER_KEPT, representatives
from vcfrag_core.phasing.samples import PhasingReference, PhasingSample
from vcfrag_core.phasing.serving import (
    ROUNDS_OF_SERVING,
    fill_missing,
    people_of,
    require_typed,
    together,
    without_rows,
)
from vcfrag_core.phasing.stretches import Stretches, lay_stretches, switch_probabilities
from vcfrag_core.retrieval import site_weights
from vcfrag_core.retrieval.identity import mask_digest
from vcfrag_core.retrieval.queries import QueryBlock, SearchResult
from vcfrag_core.targets.calls import UNPHASED
from vcfrag_core.targets.target_reference import TargetReference
from vcfrag_core.targets.targets import Targets
from vcfrag_core.types import BoolArray, F64Array, I8Array, I32Array, I64Array, U8Array
from vcfrag_core.window.local import LocalRetriever
from vcfrag_core.window.random import ReferenceRows
from vcfrag_core.window.retriever import IndexSpec, OpenedIndex

# So many samples go through the rounds together, more of them as long as what they keep is no more than these bytes:
# a search finds once which haplotypes of the panel are alike, for all of its queries.
MIN_SAMPLES_AT_ONCE, MAX_SAMPLES_AT_ONCE, BYTES_AT_ONCE = 32, 128, 64 << 20
# Of a sample for each typed site: its draws, rows of its chains, and the answer to its queries.
BYTES_PER_SITE = 160


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
        if threads < 1:
            raise RangeError(f"threads must be >= 1, got {threads}")
        self.panel = panel
        self.cm: F64Array = genetic_map.of_panel(panel)
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

    def phase(self, targets: Targets, *, draws: int = 1, target_reference: TargetReference | None = None) -> Phased:
        """Phases the samples that have unphased heterozygotes; others stay as they are.

        A sample's draws follow from its genotypes, its name, the panel, the parameters and `target_reference`: neither
        other samples nor the number of threads nor `draws` change them. Three times as many are made as are kept, as
        far as the parameters allow, and those kept whose mean tells most of that of all. A sample never copies from
        itself, nor from anybody of its exclusion group, nor from whoever is heterozygous where it is.

        Args:
            targets: The targets.
            draws: Draws from the posterior to keep, besides the consensus; the first two tell most.
            target_reference: Targets who are copied from beside the panel, as `target_reference` made them. Those who
                are among them start from the phase that they have there.

        Raises:
            PanelMismatchError: The targets were read for another panel.
            RangeError: Nothing is typed, more draws than are made, or a sample is of a group with the whole panel.
            MaskMismatchError: The targets who serve are typed at other sites.
        """
        targets.require_panel(self.panel)
        parameters = self.parameters(targets.observed)
        if not 1 <= draws <= parameters.draws:
            raise RangeError(f"1 to {parameters.draws} draws can be kept, got {draws}")
        sites = np.flatnonzero(targets.observed)
        require_typed(target_reference, targets.observed)
        reference = self._reference(sites, target_reference)
        n_made = draws if draws == 1 else min(DRAWN_PER_KEPT * draws, parameters.draws)
        run = _Run(reference, parameters, self.cm[sites], self._threads, n_made)
        alleles = targets.alleles.copy()
        probability = np.full((len(targets.samples), len(sites)), np.nan, dtype=np.float32)
        drawn: list[U8Array | None] = [None] * len(targets.samples)
        for sample in run.phased(self._samples(targets, sites, reference, parameters)):
            hets = heterozygotes(sample.genotypes)
            probability[sample.number, hets] = sample.probability
            first = (sample.genotypes == 2).astype(np.int8)
            first[hets] = sample.agreed
            second = sample.genotypes - first
            pair = targets.ploidy.rows([sample.number])
            alleles[np.ix_(pair, sites)] = np.where(sample.genotypes < 0, -1, np.stack([first, second]))
            kept = representatives(
                sample.phases[:n_made, hets], sample.agreed, sample.probability, self.cm[sites[hets]], draws,
                switch_per_cm=parameters.switch_per_cm,
            )  # fmt: skip
            drawn[sample.number] = bits.pack(np.where(sample.genotypes < 0, 0, sample.phases[kept]).astype(np.uint8))
        return Phased(
            targets=dataclasses.replace(targets, alleles=alleles, phase_sets=None),
            sites=sites,
            probability=probability,
            drawn=tuple(drawn),
        )

    def target_reference(self, targets: Targets) -> TargetReference:
        """Phases targets together, so that they serve as references of each other and of others of their cohort.

        In every round each copies from the panel and from the others, as the round before left them; the first is
        against the panel alone. `serving_samples` says who should serve.

        Args:
            targets: They, each of two haplotypes.

        Raises:
            RangeError: Nothing is typed.
        """
        parameters = together(self.parameters(targets.observed))
        sites = np.flatnonzero(targets.observed)
        reference = self._reference(sites)
        typed, people = mask_digest(targets.observed), people_of(targets)
        haplotypes = fill_missing(targets.alleles[:, sites], reference.panel)
        samples = self._samples(targets, sites, reference, parameters)
        for number in range(parameters.rounds - 1 if samples else 1):
            run = _Run(reference, parameters, self.cm[sites], self._threads, 1)
            for sample in run.after_round(samples, number):
                pair = targets.ploidy.rows([sample.number])
                phase = np.stack([sample.phases[0], sample.genotypes - sample.phases[0]])
                haplotypes[pair] = np.where(sample.genotypes == 1, phase, haplotypes[pair])
                sample.rest(parameters.queries)
            made = TargetReference.of(typed, targets.samples, people, haplotypes)
            reference = self._reference(sites, made)
            for sample in samples:
                name = targets.names[targets.ploidy.span(sample.number).start]
                sample.meet(reference, targets.samples[sample.number], name)
        return made

    def _reference(self, sites: I64Array, targets: TargetReference | None = None) -> PhasingReference:
        split = Split(name="phase", reference=self.panel.samples, groups=self._groups)
        return PhasingReference.of(self.panel.select_sites(sites), split, targets)

    def _samples(
        self, targets: Targets, sites: I64Array, reference: PhasingReference, parameters: PhasingParameters
    ) -> list[PhasingSample]:
        """The samples that are to be phased."""
        if targets.phase_sets is None:
            return []
        chosen, rates = [], prior_rates(parameters)
        for s in np.flatnonzero(targets.ploidy.counts == 2).tolist():
            pair = targets.ploidy.span(s)
            one, other = targets.alleles[pair.start, sites], targets.alleles[pair.stop - 1, sites]
            genotypes = np.where((one < 0) | (other < 0), -1, one + other).astype(np.int8)
            sets = without_overlaps(np.where(genotypes == 1, targets.phase_sets[s, sites], UNPHASED))
            if not is_open(sets[genotypes == 1]):
                continue
            known = sets != UNPHASED
            digest = text_digest("phase", str(self._seed), self.panel.contig, targets.samples[s])
            chosen.append(
                PhasingSample(
                    number=s,
                    name=targets.names[pair.start],
                    genotypes=genotypes,
                    first=np.where(known, one, -1).astype(np.int8),
                    set_starts=set_starts(sets),
                    key=int(digest[:15], 16),
                    phases=np.zeros((0, len(sites)), dtype=np.int8),
                    copied=np.zeros((0, 0), dtype=np.int32),
                    rates=rates,
                    chain_rows=None,
                    agreed=np.zeros(0, dtype=np.int8),
                    probability=np.zeros(0, dtype=np.float32),
                    hidden=np.zeros(0, dtype=np.int32),
                    own=np.zeros(0, dtype=np.int32),
                    first_round=0,
                    homozygous=None,
                )
            )
            chosen[-1].meet(reference, targets.samples[s], targets.names[pair.start])
            before = None if reference.targets is None else reference.targets.haplotypes_of(targets.samples[s])
            if before is not None:
                chosen[-1].start_from(before, max(0, parameters.rounds - ROUNDS_OF_SERVING))
        return chosen


class _Run:
    """Rounds over samples, a few at a time."""

    def __init__(
        self, reference: PhasingReference, parameters: PhasingParameters, cm: F64Array, threads: int, draws: int
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

    def phased(self, samples: Sequence[PhasingSample]) -> Iterator[PhasingSample]:
        """The samples with the draws of the last round."""
        return self._batches(samples, range(self._parameters.rounds))

    def after_round(self, samples: Sequence[PhasingSample], number: int) -> Iterator[PhasingSample]:
        """The samples as one round leaves them."""
        return self._batches(samples, range(number, number + 1))

    def _batches(self, samples: Sequence[PhasingSample], rounds: range) -> Iterator[PhasingSample]:
        if not samples:
            return
        room = BYTES_AT_ONCE // (BYTES_PER_SITE * self._reference.panel.n_sites)
        at_once = min(max(room, MIN_SAMPLES_AT_ONCE), MAX_SAMPLES_AT_ONCE)
        with LocalRetriever(self._reference.panel, threads=self._threads) as retriever:
            index = retriever.open(self._spec)
            with ThreadPoolExecutor(self._threads) as pool:
                for begin in range(0, len(samples), at_once):
                    some = samples[begin : begin + at_once]
                    for number in rounds:
                        self._round(index, pool, [sample for sample in some if sample.first_round <= number], number)
                    yield from some

    def _round(self, index: OpenedIndex, pool: Executor, some: Sequence[PhasingSample], number: int) -> None:
        """One round of a few samples."""
        if not some:
            return
        queries = [sample.queries(self._parameters.queries) for sample in some]
        found = index.search(self._block(some, queries), self._parameters.k * (1 if number else 2))
        ends = np.cumsum([len(mine) for mine in queries]).tolist()
        jobs = [
            pool.submit(self._draw, sample, number, sample.answered(_part(found, end - len(mine), end)))
            for sample, mine, end in zip(some, queries, ends, strict=True)
        ]
        for job in jobs:
            job.result()

    def _block(self, some: Sequence[PhasingSample], queries: Sequence[I8Array]) -> QueryBlock:
        n_sites = self._reference.panel.n_sites
        return QueryBlock(
            start=0,
            stop=n_sites,
            samples=tuple(sample.name for sample, mine in zip(some, queries, strict=True) for _ in mine),
            observed=np.ones(n_sites, dtype=np.bool_),
            alleles=np.concatenate(queries),
        )

    def _draw(self, sample: PhasingSample, number: int, found: SearchResult) -> None:
        """One round of one sample."""
        parameters = self._parameters
        stretches, fresh = self._divided(sample)
        last = number == parameters.rounds - 1
        if len(sample.hidden):
            found = without_rows(found, sample.hidden)
        candidates = self._candidates(sample, found, stretches, parameters.states_of(number))
        n_draws = self._n_kept if last else max(parameters.queries, parameters.draws // 4)
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
        # Of the last round's, how many are asked for changes nothing.
        some = slice(parameters.agreeing)
        sample.rates = rates_of_paths(model, stretches.steps_cm, phases[some], copied[some], parameters)
        sample.copied = np.empty((len(candidates), parameters.kept), dtype=np.int32)
        most_copied(copied, stretches.segments, len(self._reference.words), sample.copied)
        rows = self._chain_rows(sample, stretches, candidates)
        if last and parameters.copy_neighbours:
            rows.add_neighbours(found, stretches)
            _require_others(sample, rows.rows)
        self._refine(sample, number, stretches, rows)

    def _chain_rows(self, sample: PhasingSample, stretches: Stretches, candidates: I32Array) -> ChainRows:
        """The candidates of all rounds until now."""
        rows = sample.chain_rows or ChainRows.none(len(stretches.windows) - 1, len(self._reference.words))
        rows.add(candidates, stretches)
        sample.chain_rows = rows
        return rows

    def _refine(self, sample: PhasingSample, number: int, stretches: Stretches, rows: ChainRows) -> None:
        """The draws of the last round are drawn anew under all rows; before, the likeliest phase becomes the first."""
        words, known = self._reference.words, (sample.first, sample.set_starts)
        sets = phase_sets(*known)
        model = chain_model(words, rows, stretches, self._cm, sample.genotypes, *known, sample.rates)
        if number == self._parameters.rounds - 1:
            sample.agreed, sample.probability = redrawn(
                model, sample.key + number, sample.phases, self._parameters.agreeing, sets
            )
            return
        hets = heterozygotes(sample.genotypes)
        middle = sample.phases[0].copy()
        middle[hets], _ = consensus(sample.phases[:, hets], [np.searchsorted(hets, mine) for mine in sets])
        sample.phases = np.concatenate([likeliest(model, middle)[None], sample.phases[:-1]])

    def _divided(self, sample: PhasingSample) -> tuple[Stretches, I8Array]:
        """The divisions of the sites, and where a phase set begins."""
        starts = sample.set_starts
        stretches = self._stretches if not len(starts) else lay_stretches(self._cm, self._parameters, borders=starts)
        fresh = np.zeros(len(stretches.blocks) - 1, dtype=np.int8)
        fresh[np.searchsorted(stretches.blocks, starts)] = 1
        return stretches, fresh

    def _candidates(self, sample: PhasingSample, found: SearchResult, stretches: Stretches, states: int) -> I32Array:
        allowed = self._rows.shown_to(sample.name)
        if len(sample.hidden):
            allowed = np.setdiff1d(allowed, sample.hidden)
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
        _require_others(sample, candidates)
        settle_places(candidates, n_rows)
        return candidates


def _require_others(sample: PhasingSample, rows: I32Array) -> None:
    """Refuses rows that are the sample's own.

    Raises:
        SplitMismatchError: There are some.
    """
    if np.isin(rows, sample.own).any():
        raise SplitMismatchError(f"{sample.name!r} was to copy its phase from itself")


def _part(found: SearchResult, first: int, stop: int) -> SearchResult:
    """The answer to some of the queries."""
    here = slice(first, stop)
    return dataclasses.replace(
        found,
        ids=np.ascontiguousarray(found.ids[:, here]),
        distances=np.ascontiguousarray(found.distances[:, here]),
    )
