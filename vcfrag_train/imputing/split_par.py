"""How PLINK 2 is told of the pseudo-autosomal sites of X, which it takes for sites where a man has one haplotype."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Final

from vcfrag_core.files.outputs import suffix_of
from vcfrag_core.genome.builds import GRCH37, GRCH38, NCBI36, stretches_of_x
from vcfrag_core.genome.contigs import meaning
from vcfrag_core.genome.markers import told_build
from vcfrag_train.imputing.checks import CheckedTarget

# What PLINK 2 calls the builds whose regions it knows.
_CODES: Final = {NCBI36: "b36", GRCH37: "b37", GRCH38: "b38"}


class SplitPar:
    """Is shown the stretches of an output one by one.

    Args:
        out: The output.
    """

    def __init__(self, out: Path) -> None:
        self._out = out
        # Whether men have one haplotype, of each stretch of X so far.
        self._sex_linked: set[bool] = set()
        self._told = False

    def line(self, checked: CheckedTarget) -> str | None:
        """What to say once both a pseudo-autosomal stretch and one of men with one haplotype are there, and only once.

        None for formats that say of every genotype how many haplotypes it has.
        """
        panel = checked.panel
        known = meaning(panel.contig)
        if self._told or suffix_of(self._out) not in (".pgen", ".bgen") or known is None or known.chromosome != "X":
            return None
        self._sex_linked.add(bool(checked.sexes.men))
        self._told = len(self._sex_linked) == 2
        if not self._told:
            return None
        build = told_build([(panel.contig, panel.contig_length, panel.positions)]) or checked.records.build
        return (
            f"{panel.contig}: in {self._out.name} its pseudo-autosomal regions have this name, too, and PLINK 2 counts"
            f" one haplotype of a man there; `{self._command(build or GRCH37)}` sets it right"
            f"{'' if build else ' (b38 in place of b37 where that is the build)'}"
        )

    def _command(self, build: str) -> str:
        """Makes a .pgen of which the regions are parted from X."""
        stem = self._out.with_suffix("")
        sample = shlex.quote(f"{stem}.sample")
        given = f"--pfile {shlex.quote(str(stem))}"
        if self._out.suffix == ".bgen":
            given = f"--bgen {shlex.quote(str(self._out))} ref-first --sample {sample}"
        par1, _, par2 = stretches_of_x(build)
        ends = _CODES.get(build, f"{par1.stop} {par2.start}")
        return f"plink2 {given} --split-par {ends} --make-pgen --out {shlex.quote(f'{stem}.par')}"
