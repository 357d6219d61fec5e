"""One chromosome under many names."""

from __future__ import annotations

import pytest

from vcfrag_core.genome.builds import BUILDS, build_by_length, length_of, lift_over_command, stretches_of_x
from vcfrag_core.genome.contigs import Meaning, contig_alias, meaning


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("20", Meaning("20")),
        ("chr20", Meaning("20")),
        ("Chr20", Meaning("20")),
        ("CHR01", Meaning("1")),
        ("chromosome_7", Meaning("7")),
        ("X", Meaning("X")),
        ("23", Meaning("X")),
        ("chrx", Meaning("X")),
        ("24", Meaning("Y")),
        ("25", Meaning("X", pseudo_autosomal=True)),
        ("XY", Meaning("X", pseudo_autosomal=True)),
        ("PAR1", Meaning("X", pseudo_autosomal=True)),
        ("chrPAR2", Meaning("X", pseudo_autosomal=True)),
        ("26", Meaning("MT")),
        ("M", Meaning("MT")),
        ("chrM", Meaning("MT")),
        ("NC_000020.10", Meaning("20", "GRCh37")),
        ("NC_000020.11", Meaning("20", "GRCh38")),
        ("NC_000020.12", Meaning("20")),
        ("NC_000001.10", Meaning("1", "GRCh37")),
        ("NC_000023.11", Meaning("X", "GRCh38")),
        ("NC_000024.9", Meaning("Y", "GRCh37")),
        ("NC_060944.1", Meaning("20", "T2T-CHM13")),
        ("CM000682.2", Meaning("20", "GRCh38")),
        ("CM000685.1", Meaning("X", "GRCh37")),
        ("NC_012920.1", Meaning("MT")),
        ("0", None),
        ("27", None),
        ("20_KI270869v1_alt", None),
        ("HLA-A", None),
        ("NC_000025.1", None),
        ("scaffold_20", None),
    ],
)
def test_meaning(name: str, expected: Meaning | None) -> None:
    assert meaning(name) == expected


@pytest.mark.parametrize(
    ("wanted", "there", "found"),
    [
        ("20", ["19", "20"], "20"),
        ("chr20", ["19", "20"], "20"),
        ("20", ["chr20", "chr2"], "chr20"),
        ("21", ["20"], None),
        ("Chr20", ["20"], "20"),
        ("NC_000020.11", ["chr19", "chr20"], "chr20"),
        ("23", ["22", "X"], "X"),
        ("23", ["22", "23", "X"], "23"),  # cattle has a chromosome 23
        ("chrX", ["NC_000020.10", "NC_000023.10"], "NC_000023.10"),
        ("20", ["NC_000020.10", "chr20"], "chr20"),
        ("scaffold7", ["scaffold7", "7"], "scaffold7"),
        ("scaffold7", ["7"], None),
        ("chrscaffold7", ["scaffold7"], "scaffold7"),
        ("PAR1", ["X"], "X"),
    ],
)
def test_contig_alias(wanted: str, there: list[str], found: str | None) -> None:
    assert contig_alias(wanted, there) == found


def test_build_by_length__every_chromosome_of_every_build_tells_it() -> None:
    for build in BUILDS:
        for chromosome in [*map(str, range(1, 23)), "X", "Y"]:
            assert build_by_length(chromosome, length_of(chromosome, build)) == build
    assert build_by_length("20", 63_025_520) == "GRCh37"
    assert build_by_length("20", 64_444_167) == "GRCh38"
    assert build_by_length("20", None) is None
    assert build_by_length("20", 155_270_560) is None
    assert build_by_length("MT", 16_569) is None


@pytest.mark.parametrize("build", BUILDS)
def test_stretches_of_x__cover_it_without_a_gap(build: str) -> None:
    stretches = stretches_of_x(build)
    assert [s.name for s in stretches] == ["PAR1", "non-PAR", "PAR2"]
    assert [s.is_sex_linked for s in stretches] == [False, True, False]
    assert stretches[0].start == 1
    for left, right in zip(stretches[:-1], stretches[1:], strict=True):
        assert left.stop is not None
        assert right.start == left.stop + 1
    assert stretches[-1].stop is None
    length = length_of("X", build)
    assert length is not None
    assert stretches[-1].start < length


def test_stretches_of_x__golden() -> None:
    assert [(s.start, s.stop) for s in stretches_of_x("GRCh37")] == [
        (1, 2_699_520), (2_699_521, 154_931_043), (154_931_044, None),
    ]  # fmt: skip
    assert [(s.start, s.stop) for s in stretches_of_x("GRCh38")] == [
        (1, 2_781_479), (2_781_480, 155_701_382), (155_701_383, None),
    ]  # fmt: skip


def test_lift_over_command() -> None:
    assert lift_over_command("GRCh38", "GRCh37", "in.vcf.gz") == (
        "CrossMap vcf hg38ToHg19.over.chain.gz in.vcf.gz hg19.fa in.hg19.vcf"
    )
