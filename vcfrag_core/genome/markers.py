"""Which assembly positions are of, told by common SNPs whose place in each is known.

`markers.npz` holds the positions of 23,770 common coding SNPs of the 1000 Genomes in GRCh37 and in GRCh38, chromosome
by chromosome and as differences; they are those that peddy 0.4.8 ships (Pedersen and Quinlan, American Journal of Human
Genetics 100, 406-413, 2017; MIT licence).
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from vcfrag_core.genome.builds import GRCH37, GRCH38, build_by_length
from vcfrag_core.genome.contigs import meaning
from vcfrag_core.types import I32Array, IntArray

MIN_HITS: Final = 4
# Of dense data one position in ten may be a marker's by chance; of the right assembly they have nearly all.
_MIN_RATIO: Final = 4
_FILE: Final = Path(__file__).with_name("markers.npz")


Contig = tuple[str, int | None, IntArray]


def told_build(contigs: Sequence[Contig]) -> str | None:
    """The assembly of the human genome that a file tells: by positions of known SNPs, else by the lengths of its
    contigs, else by their names, where those are accessions. None where nothing tells, or names and lengths disagree.

    Args:
        contigs: Name, length where the header says it, and (V,) 1-based positions of every contig.
    """
    if (by_markers := build_by_markers((name, positions) for name, _, positions in contigs)) is not None:
        return by_markers
    known = [(meaning(name), length) for name, length, _ in contigs]
    by_length = {build_by_length(of.chromosome, length) for of, length in known if of is not None} - {None}
    by_name = {of.build for of, _ in known if of is not None} - {None}
    told = by_length or by_name
    return next(iter(told)) if len(told) == 1 else None


def build_by_markers(positions: Iterable[tuple[str, IntArray]]) -> str | None:
    """GRCh37 or GRCh38, whichever the positions fit; None where they tell nothing.

    Args:
        positions: Contig and (V,) 1-based positions, contig by contig.
    """
    hits = dict.fromkeys((GRCH37, GRCH38), 0)
    for contig, here in positions:
        known = meaning(contig)
        for build in hits:
            markers = None if known is None else marker_positions(build).get(known.chromosome)
            if markers is not None:
                hits[build] += int(np.isin(markers, here).sum())
    (_, few), (build, many) = sorted(hits.items(), key=lambda item: item[1])
    return build if many >= MIN_HITS and many >= _MIN_RATIO * few else None


@functools.cache
def marker_positions(build: str) -> Mapping[str, I32Array]:
    """Ascending positions of the markers of each chromosome, `1` to `22`."""
    with np.load(_FILE) as file:
        steps, counts = file[build], file[f"{build}_counts"]
    return {
        str(number): np.cumsum(part, dtype=np.int32)
        for number, part in enumerate(np.split(steps, np.cumsum(counts)[:-1]), start=1)
    }
