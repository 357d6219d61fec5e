"""`phase` from files to a file: the targets' own records, phased against the panel."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from vcfrag_core.files.vcf.phased import PHASED_FORMATS, PhasedRecords, PhasedWriter
from vcfrag_core.files.vcf.reader import parse_region
from vcfrag_core.imputation.imputer import Imputer
from vcfrag_core.output.header import Header
from vcfrag_core.output.writer import RecordWriter
from vcfrag_core.targets.calls import MISSING, NONE
from vcfrag_core.types import BoolArray, F32Array, I64Array
from vcfrag_train.imputing.checks import CheckedTarget
from vcfrag_train.imputing.config import ImputeConfig
from vcfrag_train.imputing.pipeline import MAX_WINDOWS, Run, read_inputs
from vcfrag_train.imputing.qc_report import QcReport
from vcfrag_train.reporter import Reporter

_CELLS_PER_PIECE = 25_000


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PhaseResult:
    """What a run wrote.

    Attributes:
        out: The output.
        qc: The QC table.
        n_records: Records in the output.
        n_phased: Samples whose phase was not known.
        n_samples: Samples in all.
    """

    out: Path
    qc: Path
    n_records: int
    n_phased: int
    n_samples: int


def phase(config: ImputeConfig, reporter: Reporter | None = None) -> PhaseResult:
    """Phases the targets into the output; what is imputed of them is nothing, and no model is used.

    Once the targets are read, the QC file is written whatever happens.

    Args:
        config: The run; of what is written it says the file alone.
        reporter: Is told how it goes.

    Raises:
        What `imputing.pipeline.impute` raises.
    """
    reporter = reporter or Reporter()
    config = dataclasses.replace(config, formats=PHASED_FORMATS, copying_only=True, draws=1)
    target, given = read_inputs(config, reporter)
    report = QcReport(config.targets, target[0].samples, config.qc_table)
    run = _PhasingRun(config, reporter, report, given)
    try:
        result = run.go(target)
    finally:
        report.write()
    return PhaseResult(
        out=result.out,
        qc=result.qc,
        n_records=result.n_records,
        n_phased=len(run.phased_samples),
        n_samples=result.n_samples,
    )


class _PhasingRun(Run):
    """A run that ends with the phase."""

    _typed_only = True
    phased_samples: set[str]

    def _writer(self, contigs: Sequence[str]) -> RecordWriter:
        self.phased_samples = set()
        config = self._config
        return PhasedWriter(config.out, formats=PHASED_FORMATS, contigs=contigs, threads=config.threads)

    def _tell_way(self, checked: CheckedTarget, imputer: Imputer) -> None:
        n_used, n_records = len(checked.matching.used()), checked.records.n_records
        self._reporter.say(f"{checked.label}: phasing at {n_used} of {n_records} records; the others keep their calls")
        self._provenance.add_phasing(checked)
        self._tell_serving(checked)

    def _impute(
        self, checked: CheckedTarget, imputer: Imputer, identity: dict[str, str], writer: RecordWriter, stretch: int
    ) -> None:
        if checked.drawn is not None:
            drawn = zip(checked.records.samples, checked.drawn, strict=True)
            self.phased_samples |= {name for name, draws in drawn if draws is not None}
        contig = checked.panel.contig
        writer.begin(contig, identity, stretch=stretch)
        writer.write(contig, stretch * MAX_WINDOWS, phased_records(checked, self._config.region))  # type: ignore[arg-type]

    def header(self, samples: Sequence[str]) -> Header:
        """As of an imputation, without the INFO that phasing does not write."""
        return dataclasses.replace(super().header(samples), infos=())

    def write_cohort(self) -> None:
        """Nothing: the record is that of an imputation."""


def phased_records(checked: CheckedTarget, region: str | None) -> Iterator[PhasedRecords]:
    """All records of a stretch's targets in their own coding, a few at a time.

    A record that is no panel site keeps its calls; in a sample whose phase was not known they are without phase, as
    nobody knows how they lie to the others.
    """
    records = checked.records
    asked = None if region is None else parse_region(region)
    chosen = np.arange(records.n_records)
    if asked is not None:
        chosen = chosen[[asked.holds(asked.contig, int(position)) for position in records.positions]]
    table = _Phases(checked)
    step = max(1, _CELLS_PER_PIECE // len(records.samples))
    for start in range(0, len(chosen), step):
        yield table.of(chosen[start : start + step])


class _Phases:
    """The phase of every call of a target."""

    def __init__(self, checked: CheckedTarget) -> None:
        self._checked = checked
        used = checked.matching.used()
        self._site = np.full(checked.records.n_records, -1, dtype=np.int64)
        self._site[used] = checked.matching.sites[used]
        self._site[(self._site >= 0) & ~checked.observed[self._site]] = -1
        self._column = np.cumsum(checked.observed) - 1
        drawn = checked.drawn or (None,) * len(checked.records.samples)
        self._drawn = np.array([draws is not None for draws in drawn], dtype=np.bool_)

    def of(self, chosen: I64Array) -> PhasedRecords:
        """The records of these numbers."""
        records, ploidy = self._checked.records, self._checked.ploidy
        alleles = records.alleles[chosen].copy()
        site = self._site[chosen]
        used = site >= 0
        coded = self._checked.alleles[:, self._column[site[used]]].T
        exchanged = self._checked.matching.exchanged[chosen[used], None] & (coded >= 0)
        alleles[used] = np.where(exchanged, 1 - coded, coded)
        pairs = ploidy.pairs(np.ascontiguousarray(alleles.T), NONE).transpose(2, 0, 1)
        called = (pairs[:, :, 0] >= 0) & (pairs[:, :, 1] != MISSING)
        het = called & (pairs[:, :, 1] >= 0) & (pairs[:, :, 0] != pairs[:, :, 1])
        half = (pairs >= 0).any(axis=2) & (pairs == MISSING).any(axis=2) & records.is_phased[chosen] & ~self._drawn
        known = records.is_phased[chosen] & ~(het & self._drawn) | used[:, None]
        return PhasedRecords(
            contig=self._checked.panel.contig,
            positions=records.positions[chosen],
            site_ids=[records.site_ids[i] for i in chosen.tolist()],
            refs=[records.refs[i] for i in chosen.tolist()],
            alts=[records.alts[i] for i in chosen.tolist()],
            alleles=np.ascontiguousarray(pairs),
            is_phased=called & known | half,
            probability=self._probability(site, used),
        )

    def _probability(self, site: I64Array, used: BoolArray) -> F32Array:
        made = np.full((len(site), len(self._drawn)), np.nan, dtype=np.float32)
        if self._checked.probability is not None:
            made[used] = self._checked.probability[:, self._column[site[used]]].T
        return made
