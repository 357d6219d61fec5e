"""Assemblies of the human genome: lengths of their chromosomes, and the pseudo-autosomal regions of X.

Lengths are those of the assemblies' own reports: NCBI36 (hg18), GRCh37 (GCA_000001405.1), GRCh38 (GCA_000001405.15),
T2T-CHM13 v2.0 (GCA_009914755.4). Pseudo-autosomal regions: the Genome Reference Consortium's, T2T-CHM13's after Rhie
et al. (Nature 621, 344-354, 2023).
"""

from __future__ import annotations

import dataclasses
from typing import Final

from vcfrag_core.types import BoolArray, IntArray

NCBI36, GRCH37, GRCH38, T2T_CHM13 = "NCBI36", "GRCh37", "GRCh38", "T2T-CHM13"
BUILDS: Final = (GRCH37, GRCH38, NCBI36, T2T_CHM13)

_NAMES: Final = (*(str(n) for n in range(1, 23)), "X", "Y")
_LENGTHS: Final = {
    NCBI36: (
        247249719, 242951149, 199501827, 191273063, 180857866, 170899992, 158821424, 146274826, 140273252, 135374737,
        134452384, 132349534, 114142980, 106368585, 100338915, 88827254, 78774742, 76117153, 63811651, 62435964,
        46944323, 49691432, 154913754, 57772954,
    ),
    GRCH37: (
        249250621, 243199373, 198022430, 191154276, 180915260, 171115067, 159138663, 146364022, 141213431, 135534747,
        135006516, 133851895, 115169878, 107349540, 102531392, 90354753, 81195210, 78077248, 59128983, 63025520,
        48129895, 51304566, 155270560, 59373566,
    ),
    GRCH38: (
        248956422, 242193529, 198295559, 190214555, 181538259, 170805979, 159345973, 145138636, 138394717, 133797422,
        135086622, 133275309, 114364328, 107043718, 101991189, 90338345, 83257441, 80373285, 58617616, 64444167,
        46709983, 50818468, 156040895, 57227415,
    ),
    T2T_CHM13: (
        248387328, 242696752, 201105948, 193574945, 182045439, 172126628, 160567428, 146259331, 150617247, 134758134,
        135127769, 133324548, 113566686, 101161492, 99753195, 96330374, 84276897, 80542538, 61707364, 66210255,
        45090682, 51324926, 154259566, 62460029,
    ),
}  # fmt: skip
# First and last position of both regions.
_PSEUDO_AUTOSOMAL: Final = {
    NCBI36: ((1, 2709520), (154584238, 154913754)),
    GRCH37: ((60001, 2699520), (154931044, 155260560)),
    GRCH38: ((10001, 2781479), (155701383, 156030895)),
    T2T_CHM13: ((1, 2394410), (153925835, 154259566)),
}
_UCSC: Final = {NCBI36: "hg18", GRCH37: "hg19", GRCH38: "hg38", T2T_CHM13: "hs1"}


@dataclasses.dataclass(frozen=True, slots=True)
class Stretch:
    """A part of a chromosome along which the ploidy of nobody changes.

    Attributes:
        name: `PAR1`, `non-PAR` or `PAR2`.
        start: First position.
        stop: Last position; None to the chromosome's end.
        is_sex_linked: Whether males have one haplotype.
    """

    name: str
    start: int
    stop: int | None
    is_sex_linked: bool


def length_of(chromosome: str, build: str) -> int | None:
    """Base pairs of `1` to `22`, `X` or `Y` in an assembly."""
    return dict(zip(_NAMES, _LENGTHS[build], strict=True)).get(chromosome)


def build_by_length(chromosome: str, length: int | None) -> str | None:
    """The assembly in which a chromosome, `1` to `22`, `X` or `Y`, has exactly this length."""
    return next((build for build in BUILDS if length is not None and length_of(chromosome, build) == length), None)


def stretches_of_x(build: str) -> tuple[Stretch, Stretch, Stretch]:
    """Both pseudo-autosomal regions of X, and what lies between them; together all of it, ends included."""
    (_, last), (first, _) = _PSEUDO_AUTOSOMAL[build]
    return (
        Stretch("PAR1", 1, last, is_sex_linked=False),
        Stretch("non-PAR", last + 1, first - 1, is_sex_linked=True),
        Stretch("PAR2", first, None, is_sex_linked=False),
    )


def is_sex_linked(positions: IntArray, build: str) -> BoolArray:
    """(n,) which positions of X lie beyond its pseudo-autosomal regions."""
    _, rest, _ = stretches_of_x(build)
    after = positions >= rest.start
    return after if rest.stop is None else after & (positions <= rest.stop)


def lift_over_command(source: str, target: str, name: str) -> str:
    """A command that brings the coordinates of a VCF from one assembly to another.

    Args:
        source: Its assembly.
        target: The assembly wanted.
        name: The file.
    """
    old, new = _UCSC[source], _UCSC[target]
    chain = f"{old}To{new[0].upper()}{new[1:]}.over.chain.gz"
    stem = name.removesuffix(".gz").removesuffix(".vcf").removesuffix(".bcf")
    return f"CrossMap vcf {chain} {name} {new}.fa {stem}.{new}.vcf"
