"""`impute` from files to files: checks, imputation window by window, and the output."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np

from vcfrag_core.copying.parameters import density
from vcfrag_core.errors import ConfigError, EmptyInputError, TargetError, UnknownContigError
from vcfrag_core.files.lock import refuse_other_writer, sole_writer
from vcfrag_core.files.outputs import open_writer
from vcfrag_core.files.panel.cache import load_panels
from vcfrag_core.files.panel.contigs import panel_contigs
from vcfrag_core.files.tables.cohort import read_cohort, write_cohort
from vcfrag_core.files.tables.genetic_map import map_for, require_contigs
from vcfrag_core.files.tables.names import beside_record
from vcfrag_core.files.tables.sexes import read_sexes
from vcfrag_core.files.tables.target_reference import read_target_reference, write_target_references
from vcfrag_core.files.targets import read_target
from vcfrag_core.files.vcf.reader import name_contigs, parse_region
from vcfrag_core.imputation.imputer import Imputer
from vcfrag_core.memory import release_compiler
from vcfrag_core.output.header import Header
from vcfrag_core.output.writer import RecordWriter
from vcfrag_core.panel.panel import Panel
from vcfrag_core.phasing.serving import TargetsAsReference
from vcfrag_core.targets.calls import TargetCalls
from vcfrag_core.targets.cohort import CohortRecord, ContigDecisions
from vcfrag_core.targets.haplotypes import settle_haplotypes
from vcfrag_core.targets.target_reference import TargetReference
from vcfrag_train.calibrate.parameters import foreign_to
from vcfrag_train.imputing.checks import (
    CheckedTarget,
    check_thin,
    match_target,
    of_samples_asked,
    refuse_other_map,
    refuse_unusable,
    sites_inside,
)
from vcfrag_train.imputing.config import ImputeConfig
from vcfrag_train.imputing.damage import turn_by_frequency
from vcfrag_train.imputing.decide import Decided, decide, decided_from, record_of
from vcfrag_train.imputing.finished import input_states, mark_finished, refuse_tables_of_another
from vcfrag_train.imputing.imputers import dosages_of, open_imputer, open_phaser, way_of
from vcfrag_train.imputing.likenesses import Likenesses
from vcfrag_train.imputing.pieces import WindowPieces
from vcfrag_train.imputing.provenance import Provenance
from vcfrag_train.imputing.qc_report import QcReport
from vcfrag_train.imputing.regions import PanelSource, panel_sources, refuse_twice, with_margin
from vcfrag_train.imputing.room import Need, check_room, needs_of_contigs, needs_of_run
from vcfrag_train.imputing.selection import chosen_sites, not_in_panel
from vcfrag_train.imputing.split_par import SplitPar
from vcfrag_train.imputing.stretches import TargetStretch, target_stretches
from vcfrag_train.reporter import Reporter

if TYPE_CHECKING:
    from vcfrag_core.phasing.phaser import Phaser

# Windows of one stretch; those of the next have higher numbers.
MAX_WINDOWS: Final = 1_000_000


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ImputeResult:
    """What a run wrote.

    Attributes:
        out: The output.
        qc: The QC table.
        n_records: Records in the output.
        n_samples: Samples in it.
    """

    out: Path
    qc: Path
    n_records: int
    n_samples: int


def impute(config: ImputeConfig, reporter: Reporter | None = None) -> ImputeResult:
    """Imputes the target into the output.

    Once the target is read, the QC file is written whatever happens.

    Raises:
        InputError and its kinds: The target, the panel or the map cannot be used.
        ConfigError, ServiceError, IdentityError, ProvenanceMismatchError: See the parts.
        OutputError: Another run writes this output, or one of the same name but for its suffix.
    """
    # Told before there is anything to lose; the writer holds the output itself.
    refuse_other_writer(config.out)
    with sole_writer(config.qc_table):
        return _impute(config, reporter or Reporter())


def _impute(config: ImputeConfig, reporter: Reporter) -> ImputeResult:
    reach_daemon(config, reporter)
    inputs = input_states(config)
    refuse_tables_of_another(config, inputs)
    target, given = read_inputs(config, reporter)
    report = QcReport(config.targets, target[0].samples, config.qc_table)
    try:
        result = Run(config, reporter, report, given).go(target)
    finally:
        report.write()
    outputs = [(result.out, result.n_records)]
    mark_finished(config.qc_table, config.command, outputs, result.n_samples, inputs, record=config.cohort_record)
    return result


def reach_daemon(config: ImputeConfig, reporter: Reporter) -> None:
    """Waits until the daemon answers, where there is one: nothing is read for one that does not."""
    if config.daemon is not None:
        from vcfrag_train.client.wait import wait_until_answering

        reporter.stage("connecting to the daemon")
        wait_until_answering(config.daemon)


def read_inputs(config: ImputeConfig, reporter: Reporter) -> tuple[list[TargetCalls], CohortRecord | None]:
    """The targets that are asked for, and what was decided for their cohort before."""
    reporter.stage("reading the target")
    around = None if config.region is None else str(with_margin(parse_region(config.region)))
    target = read_target(config.targets, region=around, threads=config.threads)
    return of_samples_asked(target, config, reporter), None if config.cohort is None else read_cohort(config.cohort)


class Run:
    """One run over all contigs.

    Args:
        config: The run.
        reporter: Is told how it goes.
        report: Takes what is found out about the targets.
        given: What was decided for their cohort before, or None.
    """

    # Whether sites that nobody is typed at are not written, so that none needs typed sites around it.
    _typed_only: ClassVar[bool] = False
    # Whether only those are phased whom the decisions are made from; the others are when they are imputed.
    _phases_later: ClassVar[bool] = False
    # How a run says that it imputes, before it says how.
    _imputes: ClassVar[str] = "imputing"

    def __init__(self, config: ImputeConfig, reporter: Reporter, report: QcReport, given: CohortRecord | None) -> None:
        self._config = config
        self._reporter = reporter
        self._report = report
        self._given = given
        self._decided: list[ContigDecisions] = []
        self._target_references: dict[str, TargetReference] = {}
        self._provenance = Provenance(config)
        self._told: set[str] = set()
        self._sexes = {} if config.sex is None else read_sexes(config.sex)
        self._likenesses = Likenesses()
        self._split_par = SplitPar(config.out)
        self._some_written = False
        self._n_written = 0

    def go(self, target: Sequence[TargetCalls]) -> ImputeResult:
        """Imputes every contig that the panel has."""
        config = self._config
        # A daemon serves whole panels, and its digest must be ours.
        region = config.region if config.daemon is None else None
        sources = panel_sources(config.panel, region, [records.contig for records in target], config.map)
        for records in target:
            if records.contig not in sources:
                self._reporter.say(self._report.add_foreign(records))
        todo = [records for records in target if records.contig in sources]
        if not todo:
            names = name_contigs([records.contig for records in target])
            own = name_contigs(panel_contigs(config.panel))
            raise UnknownContigError(
                f"the panel {config.panel} has none of its contigs: {names}; the panel has {own}",
                path=config.targets[0],
            )
        refuse_twice(sources, config.targets[0])
        contigs = [sources[records.contig].contig for records in todo]
        if config.map is not None:
            require_contigs(config.map, contigs)
        self._ask_room(needs_of_contigs(config, contigs, len(todo[0].samples)))
        for records in todo:
            self.compare_people(records, [sources[records.contig]])
        with contextlib.ExitStack() as stack:
            writer: RecordWriter | None = None
            for records in todo:
                for stretch in self.stretches(records, [sources[records.contig]]):
                    with self.checked(stretch) as (checked, imputer, identity):
                        if not self._some_written:
                            continue
                        # Not before the first one passed its checks: a refused run touches no file of an earlier one.
                        writer = writer or stack.enter_context(self._writer(contigs))
                        self._impute(checked, imputer, identity, writer, stretch.number)
            self.refuse_nothing_written()
            n_records = 0 if writer is None else writer.finish(self.header(todo[0].samples))
        self.write_cohort()
        self.tell_people()
        return ImputeResult(out=config.out, qc=config.qc_table, n_records=n_records, n_samples=len(todo[0].samples))

    def compare_people(self, calls: TargetCalls, sources: Sequence[PanelSource]) -> None:
        """Compares the targets with the panel on a contig, where all contigs decide from whom they copy on each."""
        if not self._config.exclude_same_person or self._given is not None:
            return
        for stretch in self.stretches(calls, sources):
            self._reporter.stage("telling people apart")
            config, panel, label = self._config_for(stretch.source), stretch.panel, stretch.label
            records, sexes = settle_haplotypes(stretch.calls, panel, self._sexes)
            checked = match_target(records, panel, config, None, label=label, sexes=sexes)
            refuse_unusable(checked, config)
            self._likenesses.add(checked, map_for(panel, config.map).at(panel.positions))

    def tell_people(self) -> None:
        """Says who is like a panel sample, by all contigs together."""
        excluded = self._config.exclude_same_person
        for line in self._report.add_likeness(self._likenesses.total(), excluded=excluded):
            self._reporter.say(line)

    def _config_for(self, source: PanelSource) -> ImputeConfig:
        """The run's, with the files of a stretch."""
        return dataclasses.replace(self._config, panel=source.file, map=source.map)

    def refuse_nothing_written(self) -> None:
        """Refuses a file of sites that names none of the panel's.

        Raises:
            ConfigError: No contig has any of them.
        """
        if not self._some_written:
            contigs = name_contigs([decided.contig for decided in self._decided])
            raise ConfigError(f"--sites {self._config.sites}: names no site of the panel on {contigs}; see its alleles")

    def _look_at_sites(self, checked: CheckedTarget) -> None:
        """Says where a file of sites names none of the panel's."""
        config = self._config
        if not isinstance(config.sites, Path):
            self._some_written = True
            return
        absent = not_in_panel(checked.panel, config.sites, stretch=checked.label, region=config.region)
        if chosen_sites(checked.panel, checked.observed, config.sites).any():
            self._some_written = True
            if absent:
                self._reporter.say(
                    f"{checked.label}: {len(absent)} of the sites that --sites {config.sites} names here are not in the"
                    f" panel, by position and alleles, the first {absent[0]}"
                )
        else:
            self._reporter.say(f"{checked.label}: --sites {config.sites} names no panel site here; none is written")

    def write_cohort(self) -> None:
        """Writes what was decided for the contigs, unless it was given."""
        if self._given is None:
            version = importlib.metadata.version("vcfrag")
            write_target_references(self._target_references, self._config.target_references)
            record = CohortRecord(version=version, contigs=tuple(self._decided), qc=self._config.qc_named)
            write_cohort(record, self._config.cohort_record)

    def stretches(self, calls: TargetCalls, sources: Sequence[PanelSource]) -> list[TargetStretch]:
        """The contig's stretches of equal ploidy, in the files that have some of it.

        Those beyond the region are left out, and those without a record of the targets, of which the run says so.
        """
        self._reporter.stage("reading the panel")
        found = target_stretches(calls, list(self._panels(sources)))
        # A region is read with what lies around it.
        asked = [stretch for stretch in found if len(range(*sites_inside(stretch.panel, self._config)))]
        found = asked or found
        for stretch in found:
            if not stretch.calls.n_records:
                self._reporter.say(f"{stretch.label}: no target record; its {stretch.panel.n_sites} sites are left out")
        return [stretch for stretch in found if stretch.calls.n_records]

    def _panels(self, sources: Sequence[PanelSource]) -> Iterator[tuple[PanelSource, Panel]]:
        """The panels of all files of a contig, of which some may have nothing in the region."""
        config, empty = self._config, None
        some = False
        for source in sources:
            try:
                panels = load_panels(
                    source.file, region=source.region, threads=config.threads, missing=config.panel_missing
                )
            except EmptyInputError as error:
                empty = error
                continue
            some = True
            yield from ((source, panel) for panel in panels)
        if empty is not None and not some:
            raise empty

    @contextlib.contextmanager
    def checked(self, stretch: TargetStretch) -> Iterator[tuple[CheckedTarget, Imputer, dict[str, str]]]:
        """A stretch that passed its checks, an imputer for it, and what its output follows from."""
        config, panel = self._config_for(stretch.source), stretch.panel
        given = self._decisions(stretch.label)
        records, sexes = settle_haplotypes(stretch.calls, panel, self._sexes)
        checked = match_target(records, panel, config, given, label=stretch.label, sexes=sexes)
        try:
            refuse_unusable(checked, config)
            self._look_at_sites(checked)
            genetic_map = map_for(panel, config.map)
            refuse_other_map(given, genetic_map.digest, config)
            if given is None:
                self._likenesses.add(checked, genetic_map.at(panel.positions))
                if config.exclude_same_person:
                    checked.leave_out(self._likenesses.same_people())
            with open_imputer(config, checked, genetic_map) as imputer:
                flank_cm = imputer.parameters(checked.observed).flank_cm
                check_thin(checked, imputer.cm, flank_cm, config, typed_only=self._typed_only)
                phaser = open_phaser(config, checked, genetic_map)
                if given is None:
                    # What the frequencies tell of the strand must not mislead the phase.
                    turn_by_frequency(checked)
                self._phase(checked, phaser, given)
                self._reporter.stage("estimating the rates of copying and testing the typed sites")
                phased_as = (checked.observed, checked.matching.exchanged)
                decided = decide(checked, imputer, config, given)
                check_thin(checked, imputer.cm, flank_cm, config, typed_only=self._typed_only)
                if not all(map(np.array_equal, phased_as, (checked.observed, checked.matching.exchanged))):
                    # A damaged site misled the phase around it, one on the other strand is coded anew.
                    self._phase(checked, phaser, given)
                self._decided.append(record_of(checked, decided, genetic_map.digest))
                if checked.target_reference is not None:
                    self._target_references[checked.label] = checked.target_reference
                self._tell(checked, decided)
                imputer = decided.imputer
                self._tell_way(checked, imputer)
                yield checked, imputer, self._provenance.identity(checked, imputer, genetic_map)
        except TargetError:
            self._report.add(checked)
            raise

    def _phase(self, checked: CheckedTarget, phaser: Phaser | None, given: ContigDecisions | None) -> None:
        """Phases the samples that are not phased."""
        config = self._config
        if phaser is None:
            return
        self._reporter.stage("phasing")
        if given is None:
            checked.let_serve(phaser, config.targets_as_reference)
        elif given.target_reference and config.cohort is not None:
            file, digest = beside_record(config.cohort), str(given.target_reference["digest"])
            checked.target_reference = read_target_reference(file, checked.label, digest)
        checked.phase(phaser, config.draws, decided_from(checked, config) if self._phases_later else None)

    def _decisions(self, contig: str) -> ContigDecisions | None:
        """What was decided for a contig before.

        Raises:
            ConfigError: The cohort record lacks the contig.
        """
        if self._given is None:
            return None
        found = self._given.of(contig)
        if found is None:
            there = name_contigs([decided.contig for decided in self._given.contigs])
            raise ConfigError(f"--cohort {self._config.cohort} says nothing of contig {contig}, but of {there}")
        return found

    def _tell(self, checked: CheckedTarget, decided: Decided) -> None:
        contig, per_cm = checked.label, density(checked.observed, decided.imputer.cm)
        if differs := foreign_to(self._config.parameters_provenance, checked.panel, per_cm):
            self._reporter.say(f"warning: {contig}: {differs}; without --parameters they are estimated")
        if decided.rates is not None:
            self._provenance.add("rates", contig, decided.rates.fields())
            self._reporter.say(f"{contig}: {decided.rates}")
        if decided.model is not None:
            self._provenance.add("model_check", contig, decided.model.fields())
            self._reporter.say(f"{contig}: {decided.model}")
        for line in self._report.add(checked, None if decided.model is None else decided.model.record()):
            self._reporter.say(line)
        if (parted := self._split_par.line(checked)) is not None:
            self._reporter.say(parted)

    def _tell_way(self, checked: CheckedTarget, imputer: Imputer) -> None:
        """Says how the sites are imputed."""
        if n_unphased := int(checked.unphased.sum()):
            self._provenance.add_phasing(checked, draws=True)
            self._reporter.say(
                f"{checked.label}: {n_unphased} of {len(checked.unphased)} samples are not phased; what is imputed"
                f" is the mean over {checked.n_draws} draws of the phase of each"
            )
            self._tell_serving(checked)
        self._reporter.say(f"{self._imputes} {way_of(imputer, self._told)}")

    def _tell_serving(self, checked: CheckedTarget) -> None:
        """Says how many targets serve as references."""
        if checked.target_reference is None:
            if self._config.targets_as_reference is TargetsAsReference.YES:
                self._reporter.say(
                    f"{checked.label}: no two targets have enough calls to serve as references of each other"
                )
        else:
            n_serving = len(checked.target_reference.samples)
            self._reporter.say(
                f"{checked.label}: {n_serving} targets serve as references of each other in phasing, beside the"
                f" {checked.panel.n_samples} samples of the panel"
            )

    def lines(self, contig: str) -> tuple[tuple[str, str], ...]:
        """The header's lines of a contig that was checked."""
        return self._provenance.lines(contig)

    def _writer(self, contigs: Sequence[str]) -> RecordWriter:
        config = self._config
        return open_writer(
            config.out,
            config.output_format,
            contigs=contigs,
            threads=config.threads,
            resume=config.resume,
            scratch=config.scratch,
        )

    def _impute(
        self, checked: CheckedTarget, imputer: Imputer, identity: dict[str, str], writer: RecordWriter, stretch: int
    ) -> None:
        """Imputes and writes the windows that are not there yet; one is written while the next one is imputed."""
        contig, n_sites = checked.panel.contig, checked.panel.n_sites
        before = stretch * MAX_WINDOWS
        writer.begin(contig, identity, stretch=stretch)
        pieces = WindowPieces(checked, self._config)
        windows = imputer.windows(checked.observed)
        todo = [w for w in windows if pieces.n_written(w) and not writer.has(contig, before + w.number)]
        done = n_sites - sum(w.stop - w.start for w in todo)
        if self._config.resume:
            written = sum(writer.has(contig, before + w.number) for w in windows)
            self._reporter.say(
                f"{checked.label}: {written} of {len(windows)} windows are there from the run that is resumed"
            )
        self._n_written += sum(map(pieces.n_written, windows))
        if todo:
            n_left = sum(map(pieces.n_written, todo))
            self._ask_room(needs_of_run(self._config, len(checked.records.samples), n_left, self._n_written))
        self._reporter.stage(f"imputing {checked.label}")
        self._reporter.sites(done, n_sites)
        if not todo:
            return
        release_compiler()
        writing: Future[None] | None = None
        # Closed before the daemon is: what is under way when a run is interrupted still needs it.
        found = dosages_of(imputer, checked.targets, checked.phased, todo)
        with ThreadPoolExecutor(1) as background, contextlib.closing(found) as imputed:
            for window, dosage, both in imputed:
                if writing is not None:
                    writing.result()
                writing = background.submit(
                    writer.write, contig, before + window.number, pieces.of(window, dosage, both)
                )
                done += window.stop - window.start
                self._reporter.sites(done, n_sites)
            if writing is not None:
                writing.result()

    def _ask_room(self, needs: Sequence[Need]) -> None:
        for line in check_room(needs):
            self._reporter.say(line)

    def header(self, samples: Sequence[str]) -> Header:
        """What the output's header says of the contigs that were checked."""
        return self._provenance.header(samples)
