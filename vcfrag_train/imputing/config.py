"""What an imputation run is asked to do."""

from __future__ import annotations

import dataclasses
import enum
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vcfrag_core.copying.parameters import CopyingParameters
from vcfrag_core.errors import ConfigError
from vcfrag_core.files.names import PLACE
from vcfrag_core.files.outputs import BgenValues, OutputFormat, PgenValues, check_output, stem_of
from vcfrag_core.files.panel.calls import MissingRule
from vcfrag_core.files.tables.names import beside_record
from vcfrag_core.files.tables.sites import check_sites
from vcfrag_core.output.records import DEFAULT_FORMATS
from vcfrag_core.phasing.serving import TargetsAsReference
from vcfrag_train.imputing.selection import SiteChoice

MAX_DRAWS = 32


class KeepGoing(enum.StrEnum):
    """Faults of the input that are otherwise refused."""

    SPARSE = "sparse"
    DAMAGED = "damaged"


class PhasedInput(enum.StrEnum):
    """What is done with heterozygotes of unknown phase."""

    ACCEPT = "accept"
    REQUIRE = "require"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ImputeConfig:
    """Files and choices of one run.

    Attributes:
        panel: Reference panel.
        targets: Files of targets: of several contigs, or of several people.
        out: Output, .vcf.gz, .bcf, .bgen or .pgen.
        map: Genetic map; without one 1 cM per Mb is assumed.
        checkpoint: Run folder of a trained model; the model that ships with the package unless given.
        parameters: Retrieval and copying; by the density of the typed sites, with estimated rates, unless given.
        copying_only: Imputes by copying alone, whatever model there is.
        sex: Table of who is a man and who a woman; told by the targets' files or by heterozygosity without.
        x_male_dosage: DS of a man of X who surely carries ALT, 1 or 2.
        daemon: HOST:PORT of a running daemon; without one it runs in this process.
        region: Contig, or part of one, of both files.
        panel_missing: What missing alleles of the panel are taken for.
        threads: Threads that read, copy and compress.
        formats: FORMAT fields of a VCF or BCF.
        bgen: What a BGEN file holds.
        bgen_bits: Bits of each probability there.
        pgen: What a PGEN file holds.
        min_r2: Least estimated r² of imputed sites that are written.
        sites: Sites that are written: all, imputed, typed, or those of a file.
        samples: File with the names of the samples that are imputed; all of them without one.
        fix_swaps: Repairs exchanged REF and ALT.
        fix_flips: Repairs records on the other strand.
        qc: Table of records that were not simply used; beside the output unless given.
        cohort: Record of what was decided for a cohort, which is applied; nothing is estimated or tested then.
        phased_input: Whether heterozygotes of unknown phase are phased and integrated over, or refused.
        draws: Draws of each sample's phase that are imputed; by the density of its typed sites unless given.
        targets_as_reference: Whether targets serve as references of each other when they are phased.
        resume: Takes up an interrupted run.
        scratch: Folder of temporary files; the output's own without it.
        keep_going: Faults that do not stop the run.
        least_typed: Typed sites that every site needs within the flank on both sides.
        max_damaged_share: Share of damaged sites among typed ones above which the run stops.
        loo_samples: Samples whose leave-one-out dosages test the typed sites; 0 tests by frequency alone.
        loo_folds: Folds in which typed sites are hidden for that; by their density unless given.
        pass_through: Writes target records that are no panel sites to the output, too.
        allow_panel_samples: Lets targets that are in the panel copy from themselves.
        exclude_same_person: Lets no target copy from a panel sample that is told by genotype to be the same person.
        command: The command line, for the header.
        parameters_file: Where the parameters were read, so that a resumed run knows whether they are the same.
        parameters_provenance: What that file says they were calibrated on.
    """

    panel: Path
    targets: tuple[Path, ...]
    out: Path
    map: Path | None = None
    checkpoint: Path | None = None
    parameters: CopyingParameters | None = None
    copying_only: bool = False
    sex: Path | None = None
    x_male_dosage: int = 1
    daemon: str | None = None
    region: str | None = None
    panel_missing: MissingRule = MissingRule.REFUSE
    threads: int = 1
    formats: tuple[str, ...] = DEFAULT_FORMATS
    bgen: BgenValues = BgenValues.GENOTYPES
    bgen_bits: int = 8
    pgen: PgenValues = PgenValues.DOSAGE
    min_r2: float | None = None
    sites: SiteChoice | Path = SiteChoice.ALL
    samples: Path | None = None
    fix_swaps: bool = False
    fix_flips: bool = False
    qc: Path | None = None
    cohort: Path | None = None
    phased_input: PhasedInput = PhasedInput.ACCEPT
    draws: int | None = None
    targets_as_reference: TargetsAsReference = TargetsAsReference.AUTO
    resume: bool = False
    scratch: Path | None = None
    keep_going: frozenset[KeepGoing] = frozenset()
    least_typed: int = 8
    max_damaged_share: float = 0.1
    loo_samples: int = 16
    loo_folds: int | None = None
    pass_through: bool = False
    allow_panel_samples: bool = False
    exclude_same_person: bool = False
    command: str = "vcfrag impute"
    parameters_file: Path | None = None
    parameters_provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        check_output(self.out, self.output_format)
        self._check_choice()
        if self.qc is not None and not self.qc.parent.is_dir():
            raise ConfigError(f"--qc {self.qc}: there is no folder {self.qc.parent}")
        if self.qc is not None and PLACE in str(self.qc):
            raise ConfigError(f"--qc {self.qc}: one table is written for all contigs; name it without {PLACE}")
        if self.qc is not None and self.qc.suffix == ".json":
            raise ConfigError(f"--qc {self.qc}: this is the table; the JSON summary is written beside it")
        if self.scratch is not None and not (self.scratch.is_dir() and os.access(self.scratch, os.W_OK | os.X_OK)):
            raise ConfigError(f"--scratch {self.scratch}: there is no such folder, or it cannot be written")
        if self.out in (self.panel, *self.targets):
            raise ConfigError(f"--out {self.out} is an input")
        folds = 2 if self.loo_folds is None else self.loo_folds
        if self.threads < 1 or self.loo_samples < 0 or folds < 2 or self.least_typed < 4:
            raise ConfigError("--threads >= 1, --loo-samples >= 0, --loo-folds >= 2 and --least-typed >= 4 are needed")
        if self.draws is not None and not 1 <= self.draws <= MAX_DRAWS:
            raise ConfigError(f"--draws lies in [1, {MAX_DRAWS}], got {self.draws}")
        if not 0 <= self.max_damaged_share <= 1:
            raise ConfigError(f"--max-damaged-share lies in [0, 1], got {self.max_damaged_share}")
        self._check_cohort()
        if self.copying_only and self.checkpoint is not None:
            raise ConfigError("--copying-only uses no --checkpoint")
        if self.checkpoint is not None and not self.checkpoint.is_dir():
            raise ConfigError(f"--checkpoint {self.checkpoint}: there is no such folder; `fit` and `export` write them")

    @property
    def qc_table(self) -> Path:
        """Where the QC table is written."""
        return self.usual_qc_table if self.qc is None else self.qc

    @property
    def usual_qc_table(self) -> Path:
        """Where it is written unless it is given a name of its own."""
        return self.out.with_name(f"{stem_of(self.out)}.qc.tsv")

    @property
    def qc_named(self) -> str:
        """Its own name, seen from the cohort record's folder; empty without one."""
        if self.qc is None:
            return ""
        return os.path.relpath(self.qc.absolute(), self.cohort_record.absolute().parent)

    @property
    def cohort_record(self) -> Path:
        """Where the cohort record is written."""
        return self.out.with_name(f"{stem_of(self.out)}.cohort.json")

    @property
    def target_references(self) -> Path:
        """Where the targets that serve as references are written, beside the cohort record."""
        return beside_record(self.cohort_record)

    @property
    def output_format(self) -> OutputFormat:
        """What is written of a genotype."""
        return OutputFormat(
            formats=self.formats,
            bgen=self.bgen,
            bgen_bits=self.bgen_bits,
            pgen=self.pgen,
            x_male_dosage=self.x_male_dosage,
        )

    def _check_cohort(self) -> None:
        if self.allow_panel_samples and self.exclude_same_person:
            raise ConfigError("--allow-panel-samples and --exclude-same-person contradict each other")
        if self.exclude_same_person and self.cohort is not None:
            raise ConfigError(
                "--cohort says already from whom nobody copies: give --exclude-same-person to the run that makes the"
                " record, and leave it out here"
            )
        if self.targets_as_reference is not TargetsAsReference.AUTO and self.cohort is not None:
            raise ConfigError(
                "--cohort says already which targets serve as references: give --targets-as-reference to the run that"
                " makes the record, and leave it out here"
            )

    def _check_choice(self) -> None:
        if self.min_r2 is not None and not 0 <= self.min_r2 <= 1:
            raise ConfigError(f"--min-r2 lies in [0, 1], got {self.min_r2}")
        for option, file in (("--sites", self.sites), ("--samples", self.samples), ("--sex", self.sex)):
            if isinstance(file, Path) and not file.is_file():
                why = (
                    "is read several times, so it must be a regular file" if file.exists() else "there is no such file"
                )
                raise ConfigError(f"{option} {file}: {why}")
        if isinstance(self.sites, Path):
            check_sites(self.sites)
        if self.pass_through and self.out.suffix in (".bgen", ".pgen"):
            raise ConfigError(f"--pass-through: {self.out.suffix} holds imputed records only; write a VCF or BCF")
