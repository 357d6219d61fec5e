"""From the files to a target that can be imputed: everything that is refused, dropped or reported on the way."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from vcfrag_core.errors import ProvenanceMismatchError, TargetError
from vcfrag_core.files.outputs import check_sample_names
from vcfrag_core.files.tables.qc import verdicts_of
from vcfrag_core.files.vcf.reader import parse_region
from vcfrag_core.output.genotypes import empirical_r2
from vcfrag_core.panel.panel import Panel, frequency_at
from vcfrag_core.panel.ploidy import Ploidy
from vcfrag_core.panel.windows import Window
from vcfrag_core.phasing.phase_sets import unphased_samples
from vcfrag_core.phasing.phased import Phased
from vcfrag_core.phasing.serving import TargetsAsReference, serving_samples
from vcfrag_core.retrieval.queries import EXTERNAL, External
from vcfrag_core.targets.calls import MISSING, TargetCalls, refuse_unphased
from vcfrag_core.targets.cohort import ContigDecisions, Verdict, apply_verdicts, beyond
from vcfrag_core.targets.haplotypes import SexReport
from vcfrag_core.targets.people import SampleMatch, match_samples
from vcfrag_core.targets.records import MEANING, Reason, TargetRecords
from vcfrag_core.targets.sites import site_tests as target_qc
from vcfrag_core.targets.sites.duplicates import Discordance, lend_calls
from vcfrag_core.targets.sites.matching import Matching, check_build, match_records
from vcfrag_core.targets.sites.reference_calls import refuse_variants_only
from vcfrag_core.targets.target_reference import TargetReference
from vcfrag_core.targets.targets import Targets
from vcfrag_core.targets.typed_groups import TypedGroup, typed_groups
from vcfrag_core.types import BoolArray, F32Array, F64Array, I8Array, I32Array, I64Array, U8Array
from vcfrag_train.imputing.config import ImputeConfig, KeepGoing, PhasedInput
from vcfrag_train.imputing.selection import describe, select_samples
from vcfrag_train.reporter import Reporter

if TYPE_CHECKING:
    from vcfrag_core.phasing.phaser import Phaser

_NAMED = 5
# Samples that are phased at a time: the phaser takes them at all sites.
_PHASED_AT_ONCE = 1024


@dataclasses.dataclass(slots=True, kw_only=True)
class CheckedTarget:
    """One contig of the target in the panel's coding, and what is known of it.

    Attributes:
        panel: The panel.
        records: The target's records.
        matching: What each of them is.
        people: Target samples that the panel holds.
        names: (Q,) what each query is called when neighbours are searched.
        alleles: (Q, M) alleles at the observed sites, -1 missing, in consensus phase where a sample was phased.
            Those of all sites of a large cohort have no room.
        observed: (V,) typed and used sites, M of them.
        frequency: (V,) of ALT in the panel at sites that were typed, NaN elsewhere.
        inside: Range of the sites that were asked for; those around it are context.
        label: What the contig, or this stretch of it, is called.
        sexes: Who is a man, where men have one haplotype.
        discordant: Records of sites that have a better one, which they contradict.
        thin: Ranges of sites that are left out of the output.
        tested_samples: Samples that `loo` speaks of.
        loo: (len(tested), M) leave-one-out dosages at the observed sites, or None.
        phase_sets: (S, M) phase sets of the heterozygotes as they were read, see `Targets`.
        target_reference: Targets that serve as references of each other when they are phased, if any do.
        n_draws: So many draws are kept of those who were phased; 0 before somebody was.
        drawn: Draws of the phase of those who were phased, as `Phased` has them, once somebody was.
        read: (2, M) alleles of those as they were read, by the number of the sample.
        probability: (S, M) how sure the phase is, as `Phased` has it.
    """

    panel: Panel
    records: TargetRecords
    matching: Matching
    people: list[SampleMatch]
    names: tuple[str | External, ...]
    alleles: I8Array
    observed: BoolArray
    frequency: F64Array
    inside: tuple[int, int]
    label: str
    sexes: SexReport
    discordant: list[Discordance] = dataclasses.field(default_factory=list)
    thin: list[tuple[int, int]] = dataclasses.field(default_factory=list)
    tested_samples: I64Array = dataclasses.field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    loo: F32Array | None = None
    phase_sets: I32Array | None = None
    target_reference: TargetReference | None = None
    n_draws: int = 0
    drawn: tuple[U8Array | None, ...] | None = None
    read: dict[int, I8Array] = dataclasses.field(default_factory=dict)
    probability: F32Array | None = None

    @property
    def ploidy(self) -> Ploidy:
        """Which queries are one sample."""
        return self.records.ploidy

    @property
    def targets(self) -> Targets:
        """As imputation takes them: at all sites, made anew each time."""
        return self.of_samples(np.arange(len(self.records.samples)))

    def of_samples(self, chosen: I64Array) -> Targets:
        """Some samples as imputation takes them, at all sites.

        Args:
            chosen: Which, in the order wanted.
        """
        rows = self.ploidy.rows(chosen)
        dense = np.full((len(rows), self.panel.n_sites), MISSING, dtype=np.int8)
        dense[:, self.observed] = self.alleles[rows]
        sets = None
        if self.phase_sets is not None and self.drawn is None:
            sets = np.zeros((len(chosen), self.panel.n_sites), dtype=np.int32)
            sets[:, self.observed] = self.phase_sets[chosen]
        return Targets(
            samples=tuple(self.records.samples[i] for i in chosen.tolist()),
            ploidy=self.ploidy.select(chosen),
            alleles=dense,
            observed=self.observed,
            names=tuple(self.names[i] for i in rows.tolist()),
            phase_sets=sets,
        )

    def alleles_at(self, sites: I64Array) -> I8Array:
        """(Q, L) alleles at any sites, -1 where not typed or missing."""
        typed = self.observed[sites]
        made = np.full((len(self.alleles), len(sites)), MISSING, dtype=np.int8)
        made[:, typed] = self.alleles[:, np.searchsorted(self.sites, sites[typed])]
        return made

    @property
    def phased(self) -> Phased | None:
        """Everybody's phase at all sites, made anew each time; None unless all who are not were phased."""
        if self.drawn is None or self.probability is None:
            return None
        return Phased(targets=self.targets, sites=self.sites, probability=self.probability, drawn=self.drawn)

    @property
    def unphased(self) -> BoolArray:
        """(S,) samples whose phase is not known, worked out anew each time."""
        if self.phase_sets is None:
            return np.zeros(len(self.records.samples), dtype=np.bool_)
        return unphased_samples(self.alleles, self.ploidy, self.phase_sets)

    @property
    def tested(self) -> I64Array:
        """Haplotypes that `loo` speaks of."""
        return self.ploidy.rows(self.tested_samples)

    @property
    def sites(self) -> I64Array:
        """(M,) typed and used panel sites."""
        return np.flatnonzero(self.observed)

    @property
    def written(self) -> BoolArray:
        """(V,) sites that go to the output."""
        written = np.zeros(self.panel.n_sites, dtype=np.bool_)
        written[slice(*self.inside)] = True
        for start, stop in self.thin:
            written[start:stop] = False
        return written

    @property
    def er2(self) -> F64Array:
        """(V,) leave-one-out r² at typed sites, NaN elsewhere."""
        values = np.full(self.panel.n_sites, np.nan)
        if self.loo is not None:
            values[self.sites] = empirical_r2(self.loo, self.alleles[self.tested])
        return values

    def groups(self) -> list[TypedGroup]:
        """Samples by what they were typed at."""
        return typed_groups(self.alleles, self.observed, self.ploidy)

    def phase(
        self,
        phaser: Phaser,
        draws: int | None = None,
        samples: I64Array | None = None,
    ) -> None:
        """Phases what is not, at the sites that are used now; `alleles` are then those of the consensus.

        Args:
            phaser: Phases.
            draws: Draws to keep of each sample; as many as the phaser's parameters say unless given.
            samples: Only these; everybody without.
        """
        if self.phase_sets is None:
            return
        self.forget_phase()
        self.n_draws = phaser.parameters(self.observed).integrated if draws is None else draws
        n_samples = len(self.records.samples)
        drawn: list[U8Array | None] = [None] * n_samples
        probability = np.full(self.phase_sets.shape, np.nan, dtype=np.float32) if samples is None else None
        chosen = np.arange(n_samples) if samples is None else np.sort(samples)
        for start in range(0, len(chosen), _PHASED_AT_ONCE):
            some = chosen[start : start + _PHASED_AT_ONCE]
            made = phaser.phase(self.of_samples(some), draws=self.n_draws, target_reference=self.target_reference)
            if probability is not None:
                probability[some] = made.probability
            for i in made.phased_samples:
                sample, rows = int(some[i]), self.ploidy.rows(some[[i]])
                drawn[sample] = made.drawn[i]
                self.read[sample] = self.alleles[rows]
                self.alleles[rows] = made.consensus_of(i)
        if self.read:
            self.drawn, self.probability = tuple(drawn), probability

    def let_serve(self, phaser: Phaser, choice: TargetsAsReference) -> None:
        """Chooses whose haplotypes others copy their phase from, and phases them together; nobody's phase is kept."""
        self.target_reference = None
        if not self.unphased.any():
            return
        self.forget_phase()
        chosen = serving_samples(self.records.samples, self.alleles, self.ploidy, self.panel.n_samples, choice)
        if len(chosen):
            self.target_reference = phaser.target_reference(self.of_samples(chosen))

    def forget_phase(self) -> None:
        """Makes `alleles` those that were read again."""
        for sample, alleles in self.read.items():
            self.alleles[self.ploidy.rows([sample])] = alleles
        self.read, self.drawn, self.probability = {}, None, None

    def apply(self, changed: dict[int, Reason]) -> None:
        """Gives used records other reasons, and takes those no longer used out of the alleles."""
        self.matching = self.matching.with_reasons(changed)
        gone = self.matching.sites[[i for i, reason in changed.items() if not reason.is_used]]
        kept = np.isin(self.sites, gone, invert=True)
        self.observed = self.observed.copy()
        self.observed[gone] = False
        self.alleles = np.ascontiguousarray(self.alleles[:, kept])
        self.read = {sample: alleles[:, kept] for sample, alleles in self.read.items()}
        self.phase_sets = None if self.phase_sets is None else self.phase_sets[:, kept]

    def turn(self, records: Set[int]) -> None:
        """Codes used records of either strand the other way round."""
        self.matching = self.matching.turn(records)
        columns = np.searchsorted(self.sites, self.matching.sites[sorted(records)])
        for alleles in (self.alleles, *self.read.values()):
            there = alleles[:, columns]
            alleles[:, columns] = np.where(there >= 0, 1 - there, there)

    def leave_out(self, same: Mapping[str, Sequence[str]]) -> None:
        """Lets nobody copy from the panel sample of the same name, nor from those that are `same`."""
        self.people = match_samples(self.records.samples, self.panel, same)
        found = {person.sample: person.panel_samples[0] for person in self.people}
        self.names = self.ploidy.of_haplotypes(found.get(sample, EXTERNAL) for sample in self.records.samples)

    def verdicts(self) -> list[Verdict]:
        """Its rows of the QC table."""
        return verdicts_of(self.records, self.matching)


def of_samples_asked(target: list[TargetCalls], config: ImputeConfig, reporter: Reporter) -> list[TargetCalls]:
    """The calls of the samples that are asked for.

    Raises:
        ConfigError: The output cannot name one of them.
        UnphasedError: A heterozygote is not phased, and is to be.
        SampleTableError: See `select_samples`.
    """
    if config.samples is not None:
        everyone = len(target[0].samples)
        target = [select_samples(records, config.samples) for records in target]
        reporter.say(describe(target[0].samples, everyone))
    check_sample_names(config.out, target[0].samples)
    if config.phased_input is PhasedInput.REQUIRE:
        refuse_unphased(target)
    return target


def match_target(
    records: TargetRecords,
    panel: Panel,
    config: ImputeConfig,
    given: ContigDecisions | None,
    *,
    label: str,
    sexes: SexReport,
) -> CheckedTarget:
    """A contig's records matched with the panel, and the people among its samples whom the panel holds.

    Args:
        records: The contig's, or those of a stretch of it.
        panel: The panel's sites there.
        config: The run.
        label: What the contig or the stretch is called.
        sexes: Who is a man, where men have one haplotype.
        given: What was decided for the contig before; then its typed sites are those of this target, too.

    Raises:
        UnphasedError: A heterozygote is not phased, and is to be.
        ProvenanceMismatchError: It was decided for another panel.
    """
    if config.phased_input is PhasedInput.REQUIRE:
        records.refuse_unphased()
    matching = match_records(records, panel, fix_swaps=config.fix_swaps, fix_flips=config.fix_flips)
    records, discordant = lend_calls(records, matching)
    if given is None:
        matching = matching.with_reasons(target_qc.without_calls(records, matching))
    else:
        _refuse_other("panel", given.panel, panel.digest, config)
        matching = apply_verdicts(records, matching, given.verdicts)
        matching = matching.with_reasons(beyond(matching, given.typed))
    observed = target_qc.used_sites(matching, panel.n_sites) if given is None else given.typed
    sites = np.flatnonzero(observed)
    frequency = np.full(panel.n_sites, np.nan)
    frequency[sites] = frequency_at(panel, sites)
    checked = CheckedTarget(
        panel=panel,
        records=records,
        matching=matching,
        people=[],
        names=(EXTERNAL,) * records.ploidy.n_haplotypes,
        alleles=target_qc.typed_alleles(records, matching, sites),
        observed=observed,
        frequency=frequency,
        inside=sites_inside(panel, config),
        label=label,
        sexes=sexes,
        discordant=discordant,
        phase_sets=target_qc.typed_phase_sets(records, matching, sites),
    )
    if not config.allow_panel_samples:
        checked.leave_out({} if given is None else given.people)
    return checked


def _refuse_other(what: str, wanted: str, found: str, config: ImputeConfig) -> None:
    if wanted != found:
        raise ProvenanceMismatchError(
            f"{config.cohort}: was made with another {what} ({wanted}, here {found}), or another --region of it"
        )


def refuse_other_map(given: ContigDecisions | None, found: str, config: ImputeConfig) -> None:
    """Refuses decisions that were made with another genetic map.

    Raises:
        ProvenanceMismatchError: They were.
    """
    if given is not None:
        _refuse_other("genetic map", given.genetic_map, found, config)


def sites_inside(panel: Panel, config: ImputeConfig) -> tuple[int, int]:
    """Sites of the region that was asked for; all without one."""
    if config.region is None:
        return 0, panel.n_sites
    region = parse_region(config.region)
    start = int(np.searchsorted(panel.positions, region.start, side="left"))
    return start, panel.n_sites if region.stop is None else int(np.searchsorted(panel.positions, region.stop, "right"))


def refuse_unusable(target: CheckedTarget, config: ImputeConfig) -> None:
    """Refuses a contig of which nothing can be used.

    Raises:
        TargetError: Another genome build, no record that is a panel site, or samples of which there are variants only.
    """
    records, panel, matching = target.records, target.panel, target.matching
    check_build(records, panel, matching.build)
    if target.inside[0] >= target.inside[1]:
        region = parse_region(config.region or "")
        one = (
            f"; this is one position, write {region.contig}:{region.start}- for all from there on"
            if region.start == region.stop and "-" not in (config.region or "").rpartition(":")[2]
            else ""
        )
        raise TargetError(f"the panel has no site in region {config.region}{one}", path=records.source)
    if not target.observed.any():
        counts = ", ".join(f"{n} {MEANING[reason]}" for reason, n in Counter(matching.reasons).most_common())
        raise TargetError(
            f"contig {records.contig}: none of {records.n_records} records can be used ({counts}); the panel spans"
            f" {panel.contig}:{panel.positions[0]}-{panel.positions[-1]}",
            path=records.source,
        )
    if KeepGoing.DAMAGED not in config.keep_going:
        frequency, source = target.frequency[target.sites], records.source
        refuse_variants_only(
            target.alleles, frequency, target.ploidy, records.samples, contig=target.label, source=source
        )


def check_missing(target: CheckedTarget, windows: Sequence[Window], most: float) -> None:
    """Refuses samples with too few calls to be imputed.

    Args:
        windows: All windows.
        most: Share of a context's typed sites that the daemon lets a query miss.

    Raises:
        TargetError: A sample has no call, or misses more than that somewhere.
    """
    panel = target.panel
    for window in windows:
        first, last = np.searchsorted(target.sites, (window.context_start, window.context_stop)).tolist()
        missing = (target.alleles[:, first:last] < 0).sum(axis=1)
        worst = int(missing.argmax())
        if missing[worst] and missing[worst] > most * (last - first):
            raise TargetError(
                f"misses {missing[worst]} of {last - first} typed alleles in {panel.contig}:"
                f"{panel.positions[window.context_start]}-{panel.positions[window.context_stop - 1]}; the daemon allows"
                f" {most:.0%} (its limits.max_missing_share). Impute without --daemon, or leave the sample out",
                path=target.records.source,
                sample=target.records.samples[int(target.ploidy.sample_of[worst])],
            )
    empty = np.flatnonzero(target_qc.missing_rates(target.alleles, target.ploidy) == 1)
    if len(empty):
        name = target.records.samples[int(empty[0])]
        if (n_lone := target.sexes.one_allele.get(name)) is not None:
            why = "everybody has two haplotypes there"
            if target.sexes.told_by.get(name) == "given":
                why = "the sex given is a woman's: correct it, in --sex or the target's file, where this is a man"
            raise TargetError(
                f"has no call of two alleles at any typed site of {target.label}; its {n_lone} of one allele count as"
                f" missing, as {why}",
                path=target.records.source,
                sample=name,
            )
        others = f" (nor have {len(empty) - 1} other samples)" if len(empty) > 1 else ""
        raise TargetError(
            f"has no call at any typed site of {panel.contig}{others}: leave it out, with --samples or"
            " `bcftools view -s ^NAME`; who has other contigs only takes a run of its own",
            path=target.records.source,
            sample=name,
        )


def check_thin(
    target: CheckedTarget, cm: F64Array, flank_cm: float, config: ImputeConfig, *, typed_only: bool = False
) -> None:
    """Finds stretches with too few typed sites; they are left out of the output, or refused.

    Args:
        target: The target, whose `thin` is set.
        cm: (V,) genetic positions.
        flank_cm: How far from a site typed sites count.
        config: The run.
        typed_only: Whether a stretch without any typed site is nobody's concern, since only those are written.

    Raises:
        TargetError: There are such stretches and the run is not to go on, or they leave nothing.
    """
    while True:
        thin = target_qc.thin_stretches(cm, target.observed, flank_cm=flank_cm, least=config.least_typed)
        low, high = target.inside
        target.thin = [(max(a, low), min(b, high)) for a, b in thin if a < high and b > low]
        if typed_only:
            target.thin = [(a, b) for a, b in target.thin if target.observed[a:b].any()]
        if not target.thin:
            return
        if KeepGoing.SPARSE not in config.keep_going or not bool(target.written.any()):
            _refuse_thin(target, flank_cm, config, typed_only)
        used = target.matching.used()
        inside = used[~target.written[target.matching.sites[used]]]
        if not len(inside):
            return
        target.apply(dict.fromkeys(inside.tolist(), Reason.THIN))


def _refuse_thin(target: CheckedTarget, flank_cm: float, config: ImputeConfig, typed_only: bool) -> NoReturn:
    panel = target.panel
    named = [f"{panel.contig}:{panel.positions[a]}-{panel.positions[b - 1]}" for a, b in target.thin[:_NAMED]]
    more = len(target.thin) - len(named)
    n_sites = sum(b - a for a, b in target.thin)
    if target.written.any():
        advice = "leave them out with --keep-going sparse, or take the rest with --region"
    else:
        advice = f"no stretch has enough ({int(target.observed.sum())} in all): the targets need denser typing"
        advice += ", or a map in which these sites lie closer"
        # `phase`, which writes typed sites only, has no such option.
        advice += "" if typed_only else ", or a lower --least-typed, which is less accurate"
    raise TargetError(
        f"fewer than {config.least_typed} typed sites within {flank_cm:.3g} cM of {n_sites} of {panel.n_sites} panel"
        f" sites, in {', '.join(named)}{f' and {more} more stretches' if more > 0 else ''}; {advice}",
        path=target.records.source,
    )
