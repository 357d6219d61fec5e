"""Males that a panel writes with two equal haplotypes on X: each is one haplotype, however he is written.

With two he would count twice in every frequency, and be found beside himself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Final

import numpy as np

from vcfrag_core.errors import PloidyError
from vcfrag_core.genome.builds import BUILDS, Stretch, is_sex_linked, stretches_of_x
from vcfrag_core.genome.contigs import meaning
from vcfrag_core.genome.markers import told_build
from vcfrag_core.panel import bits as bit
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.ploidy import Ploidy
from vcfrag_core.types import BoolArray, I64Array, U8Array

# Of the heterozygous sites expected of a woman, a man has at most this share by mistake; a woman never has so few
# where so many are expected.
MAX_SHARE_OF_MEN: Final = 0.1
MIN_EXPECTED: Final = 20.0
_WHOLE: Final = Stretch("", 1, None, is_sex_linked=True)


def without_repeated_haplotypes(panel: Panel) -> list[Panel]:
    """The stretches of a panel of X, Y or the mitochondrion in which everybody is written with two alleles.

    The pseudo-autosomal regions of X are stretches of their own, by the build where the contig's length or name tells
    it, else as far as samples go on having two equal haplotypes who have them in between. Elsewhere on X, where sites
    are enough to tell, a sample with two equal haplotypes has one of them left; on Y and the mitochondrion everybody
    has, if nobody is heterozygous. A panel of any other contig, or one that itself says who is haploid, stays as it is.

    Raises:
        PloidyError: A sample is heterozygous at few sites, so that it is neither a man nor a woman; names it. Men are
            told, but not where the pseudo-autosomal regions end.
    """
    known = meaning(panel.contig)
    if known is None or known.is_autosome or not panel.ploidy.is_diploid:
        return [panel]
    if known.chromosome != "X":
        equal = _equal_pairs(panel)
        return [_with_one_haplotype(panel, equal) if equal.all() else panel]
    parts = ((stretch, _sites(panel, stretch)) for stretch in _stretches(panel))
    return [
        _with_men(part) if stretch.is_sex_linked else part
        for stretch, sites in parts
        if len(sites)
        for part in [panel if len(sites) == panel.n_sites else panel.select_sites(sites)]
    ]


def _stretches(panel: Panel) -> tuple[Stretch, ...]:
    """The stretches of X of the panel's build; if nothing tells it, of the one whose men are haploid for longest.

    Raises:
        PloidyError: The men allow none.
    """
    if build := told_build([(panel.contig, panel.contig_length, panel.positions)]):
        return stretches_of_x(build)
    linked = {build: is_sex_linked(panel.positions, build) for build in BUILDS}
    inner = panel.select_sites(np.flatnonzero(np.all(list(linked.values()), axis=0)))
    if _expected(inner) < MIN_EXPECTED or not (men := _equal_pairs(inner)).any():
        return (_WHOLE,)
    for build in sorted(BUILDS, key=lambda build: -int(linked[build].sum())):
        if _equal_pairs(panel.select_sites(np.flatnonzero(linked[build])))[men].all():
            return stretches_of_x(build)
    raise PloidyError(
        f"{men.sum()} samples have two equal haplotypes on most of {panel.contig}, as men, but not from the end of one"
        " pseudo-autosomal region to the other in any build of the human genome, and the header does not tell the"
        " build; give men one allele there (`bcftools +fixploidy`), or the contig its length (`bcftools reheader"
        " --fai`)",
        path=panel.source,
        sample=panel.samples[int(np.flatnonzero(men)[0])],
    )


def _sites(panel: Panel, stretch: Stretch) -> I64Array:
    inside = panel.positions >= stretch.start
    if stretch.stop is not None:
        inside &= panel.positions <= stretch.stop
    return np.flatnonzero(inside)


def _equal_pairs(panel: Panel) -> BoolArray:
    """(S,) samples with two equal haplotypes."""
    return np.concatenate([(rows[0::2] == rows[1::2]).all(axis=1) for rows in _pairs(panel)])


def _pairs(panel: Panel) -> Iterator[U8Array]:
    """(2 n, bytes) both haplotypes of some samples, and so on."""
    return (panel.bits.rows(rows) for rows in panel.bits.row_slices())


def _with_one_haplotype(panel: Panel, is_haploid: BoolArray) -> Panel:
    ploidy = Ploidy.of(np.where(is_haploid, 1, 2))
    return dataclasses.replace(panel, ploidy=ploidy, bits=panel.bits.select_rows(np.flatnonzero(ploidy.in_pairs)))


def _with_men(panel: Panel) -> Panel:
    expected, is_haploid = _expected(panel), _equal_pairs(panel)
    if expected < MIN_EXPECTED or not bool(is_haploid.any()):
        return panel
    _refuse_between(panel, expected)
    return _with_one_haplotype(panel, is_haploid)


def _expected(panel: Panel) -> float:
    """Heterozygous sites of a woman, by the panel's frequencies."""
    frequency = panel.alt_frequency()
    return float((2 * frequency * (1 - frequency)).sum())


def _refuse_between(panel: Panel, expected: float) -> None:
    counts = np.concatenate([bit.count(rows[0::2] ^ rows[1::2]) for rows in _pairs(panel)])
    between: BoolArray = (counts > 0) & (counts < MAX_SHARE_OF_MEN * expected)
    if not bool(between.any()):
        return
    sample = int(np.flatnonzero(between)[0])
    two = panel.haplotypes(slice(2 * sample, 2 * sample + 2))
    first = int(np.flatnonzero(two[0] != two[1])[0])
    raise PloidyError(
        f"is heterozygous at {counts[sample]} of {panel.n_sites} sites, where {expected:.0f} are expected of a sample"
        " with two haplotypes: a man with wrong calls? Give those calls of men one allele or set them missing"
        " (`bcftools +fixploidy`, `bcftools +setGT`), or leave the sample out",
        path=panel.source,
        record=panel.site_label(first),
        sample=panel.samples[sample],
    )
