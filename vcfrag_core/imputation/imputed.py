"""What imputation gives back: dosages, how good they are likely to be, and a file of them."""

from __future__ import annotations

import dataclasses
import importlib.metadata
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from vcfrag_core.errors import ConfigError
from vcfrag_core.files.outputs import OutputFormat, check_sample_names, open_writer
from vcfrag_core.hashing import text_digest
from vcfrag_core.imputation.model_check import ModelCheck
from vcfrag_core.output.cohort_sums import estimated_r2
from vcfrag_core.output.header import Header
from vcfrag_core.output.records import DEFAULT_FORMATS, OutputRecords, independent_dosage, parse_formats, site_records
from vcfrag_core.panel.panel import Panel
from vcfrag_core.shapes import repr_by_shape
from vcfrag_core.targets.targets import Targets
from vcfrag_core.types import BoolArray, F32Array, F64Array

_CELLS_AT_ONCE = 25_000


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Imputed:
    """Imputed targets. Typed alleles stand as they are; imputed dosages fill in for missing ones.

    Attributes:
        panel: The panel.
        targets: The targets.
        probabilities: (Q, V) probability of ALT of every haplotype; where its phase was known, that of a call is its
            allele.
        method: How they were made, for records.
        both: (S, V) probability that both haplotypes of a sample carry ALT, where they depend on each other; see
            `integrate.Integrated`. None where all are independent given the data.
        model_check: How the model did on these targets, and whether it was used; None where none was given, or
            where parameters were.
    """

    panel: Panel
    targets: Targets
    probabilities: F32Array
    method: str
    both: F32Array | None = None
    model_check: ModelCheck | None = None

    __repr__ = repr_by_shape

    @property
    def haplotype_dosages(self) -> F32Array:
        """(V, S, 2) ALT copies of each haplotype, in [0, 1]; NaN where a sample has no second one."""
        return np.ascontiguousarray(np.moveaxis(self.targets.ploidy.pairs(self._believed(), np.nan), 2, 0))

    @property
    def dosages(self) -> F32Array:
        """(V, S) ALT copies, between 0 and the number of a sample's haplotypes."""
        return np.ascontiguousarray(self.targets.ploidy.sums(self._believed()).T)

    @property
    def estimated_r2(self) -> F64Array:
        """(V,) estimated r² of dosage and true genotype; see `output.cohort_sums.estimated_r2`."""
        sites, known, believed = np.arange(self.panel.n_sites), self._known(), self._believed()
        if self.both is not None:
            believed = independent_dosage(believed, known, self.both, self.targets.ploidy)
        return estimated_r2(self.panel, sites, believed, known, self.targets.ploidy)

    def write(self, path: str | Path, *, formats: str | Sequence[str] = DEFAULT_FORMATS, threads: int = 1) -> None:
        """Writes a bgzipped VCF, a BCF, BGEN or PGEN with what belongs beside it; it appears whole or not at all.

        Args:
            path: `.vcf.gz`, `.bcf`, `.bgen` (genotype probabilities in 8 bits) or `.pgen` (dosages).
            formats: FORMAT fields among GT, DS, HDS and GP, of a VCF or BCF.
            threads: Threads that compress.

        Raises:
            ConfigError: An unknown suffix or field, or LOO, which `vcfrag impute` alone writes; the package that writes
                the format is not installed, or it cannot name a sample.
        """
        chosen, panel, samples = parse_formats(formats), self.panel, self.targets.samples
        if "LOO" in chosen:
            raise ConfigError("LOO is not known here; `vcfrag impute --format` writes it")
        check_sample_names(path, samples)
        version = importlib.metadata.version("vcfrag")
        targets = text_digest("target", "\n".join(samples), self.targets.alleles.tobytes())
        made_from = {"version": version, "panel": panel.digest, "targets": targets, "method": self.method}
        chosen_format = OutputFormat(formats=chosen)
        with open_writer(Path(path), chosen_format, contigs=[panel.contig], threads=threads) as writer:
            writer.begin(panel.contig, made_from)
            writer.write(panel.contig, 0, self._records())
            writer.finish(
                Header(
                    samples=samples,
                    contigs={panel.contig: panel.contig_length},
                    formats=chosen,
                    provenance=list(made_from.items()),
                )
            )

    def _known(self) -> BoolArray:
        return np.asarray((self.targets.alleles >= 0) & self.targets.observed)

    def _believed(self) -> F32Array:
        """(Q, V) typed alleles, and probabilities elsewhere."""
        return np.where(self._known(), self.targets.alleles.astype(np.float32), np.clip(self.probabilities, 0, 1))

    def _records(self) -> Iterator[OutputRecords]:
        step = max(1, _CELLS_AT_ONCE // len(self.targets.samples))
        for start in range(0, self.panel.n_sites, step):
            sites = np.arange(start, min(start + step, self.panel.n_sites))
            yield site_records(
                self.panel,
                sites,
                dosage=self.probabilities[:, sites],
                alleles=self.targets.alleles[:, sites],
                typed=self.targets.observed[sites],
                ploidy=self.targets.ploidy,
                both=None if self.both is None else self.both[:, sites],
            )
