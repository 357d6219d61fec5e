"""The formats that imputed genotypes are written in, told by the output's suffix."""

from __future__ import annotations

import dataclasses
import enum
import importlib.util
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Final

from vcfrag_core.errors import ConfigError
from vcfrag_core.files.bgen.probabilities import BITS
from vcfrag_core.files.names import PLACE
from vcfrag_core.output.records import DEFAULT_FORMATS
from vcfrag_core.output.writer import PartMaker, RecordWriter

SUFFIXES: Final = (".vcf.gz", ".vcf.bgz", ".bcf", ".bgen", ".pgen")
_WITHOUT_FIELDS: Final = (".bgen", ".pgen")
# Lengths of names take two bytes of a .bgen; a message shows so many letters of a longer one.
_MAX_BGEN_NAME: Final = 65_535
_SHOWN: Final = 40


class BgenValues(enum.StrEnum):
    """What a BGEN file holds."""

    GENOTYPES = "genotypes"
    HAPLOTYPES = "haplotypes"


class PgenValues(enum.StrEnum):
    """What a PGEN file holds."""

    DOSAGE = "dosage"
    PHASE = "phase"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class OutputFormat:
    """What is written of a genotype.

    Attributes:
        formats: FORMAT fields of a VCF or BCF.
        bgen: Genotype or haplotype probabilities of a BGEN file.
        bgen_bits: Bits of each, 8 or 16.
        pgen: Dosages or phased hard calls of a PGEN file.
        x_male_dosage: DS, in a VCF or BCF, of a man of X who surely carries ALT, 1 or 2.
    """

    formats: tuple[str, ...] = DEFAULT_FORMATS
    bgen: BgenValues = BgenValues.GENOTYPES
    bgen_bits: int = 8
    pgen: PgenValues = PgenValues.DOSAGE
    x_male_dosage: int = 1

    def __post_init__(self) -> None:
        if self.bgen_bits not in BITS:
            raise ConfigError(f"--bgen-bits is 8 or 16, got {self.bgen_bits}")
        if self.x_male_dosage not in (1, 2):
            raise ConfigError(f"--x-male-dosage is 1 or 2, got {self.x_male_dosage}")


def suffix_of(path: str | Path) -> str:
    """The suffix that tells the output's format.

    Raises:
        ConfigError: It is none of them.
    """
    name = Path(path).name
    found = next((suffix for suffix in SUFFIXES if name.endswith(suffix) and name != suffix), None)
    if found is None:
        raise ConfigError(f"--out {path}: the name must end in .vcf.gz, .bcf, .bgen or .pgen")
    return found


def stem_of(path: Path) -> str:
    """The output's name without its suffix; `genome` stands where each contig's name would, `chr` before it or not."""
    return path.name.removesuffix(suffix_of(path)).replace(f"chr{PLACE}", "genome").replace(PLACE, "genome")


def companions(path: Path) -> tuple[Path, ...]:
    """What is, or may be, written beside an output: its index, and the tables of its samples and sites."""
    if path.suffix == ".bgen":
        return path.with_name(f"{path.name}.bgi"), path.with_suffix(".sample")
    if path.suffix == ".pgen":
        return path.with_suffix(".pvar"), path.with_suffix(".psam")
    return path.with_name(f"{path.name}.tbi"), path.with_name(f"{path.name}.csi")


def check_output(path: str | Path, chosen: OutputFormat | None = None) -> Path:
    """The path of an output that can be written.

    Raises:
        ConfigError: Its suffix is none of `SUFFIXES`, its folder does not exist, the package that writes it is not
            installed, or FORMAT fields are chosen where there are none.
    """
    path, suffix = Path(path), suffix_of(path)
    if not path.parent.is_dir():
        raise ConfigError(f"--out {path}: there is no folder {path.parent}")
    if suffix == ".bgen" and importlib.util.find_spec("bgen") is None:
        raise ConfigError(f"--out {path}: bgen is not installed; run: pip install 'vcfrag[bgen]'")
    if suffix in _WITHOUT_FIELDS and chosen is not None and chosen.formats != DEFAULT_FORMATS:
        raise ConfigError(f"--out {path}: {suffix} has no FORMAT fields; leave --format out")
    return path


def check_sample_names(path: str | Path, samples: Sequence[str]) -> None:
    """Refuses names that no format can hold, and those that the tables beside a .bgen or .pgen cannot.

    Raises:
        ConfigError: A name is empty, has a tab or another control character, or is two samples'; for the tables, whose
            columns are parted by white space, it has any, or is 0, which is nobody's there; for a .bgen, it is longer
            than that can say.
    """
    unfit = next((name for name in samples if not name or not name.isprintable()), None)
    if unfit is not None:
        raise ConfigError(f"--out {path}: no file can name a sample {unfit!r}; give it another name")
    twice = next((name for name, n in Counter(samples).items() if n > 1), None)
    if twice is not None:
        raise ConfigError(f"--out {path}: two samples have the name {twice!r}; give each its own")
    if suffix_of(path) not in _WITHOUT_FIELDS:
        return
    wrong = next((name for name in samples if name == "0" or name.split() != [name]), None)
    if wrong is not None:
        raise ConfigError(
            f"--out {path}: a {suffix_of(path)} cannot name the sample {wrong!r}; give it another name with `bcftools"
            " reheader --samples`, or write a .vcf.gz or .bcf"
        )
    long = next((name for name in samples if len(name.encode()) > _MAX_BGEN_NAME), None)
    if long is not None and suffix_of(path) == ".bgen":
        raise ConfigError(
            f"--out {path}: a .bgen holds names of up to {_MAX_BGEN_NAME:,} bytes, and that of the sample"
            f" {long[:_SHOWN]}... has {len(long.encode()):,}; give it another name with `bcftools reheader --samples`"
        )


def open_writer(
    path: Path,
    chosen: OutputFormat,
    *,
    contigs: Sequence[str],
    threads: int = 1,
    resume: bool = False,
    scratch: Path | None = None,
) -> RecordWriter:
    """The writer of the format that the suffix tells.

    Args:
        path: The output.
        chosen: What is written.
        contigs: Contigs in the order in which they are written.
        threads: Threads that compress, where the format has use for them.
        resume: Takes up what an interrupted run has written; else that is removed.
        scratch: Folder of what is written before the output is whole; the output's own without it.

    Raises:
        ConfigError: See `check_output`.
        ProvenanceMismatchError: What is there was made from something else.
    """
    suffix = suffix_of(check_output(path, chosen))
    if suffix == ".bgen":
        from vcfrag_core.files.bgen.writer import BgenWriter

        phased = chosen.bgen is BgenValues.HAPLOTYPES
        return BgenWriter(path, contigs=contigs, bits=chosen.bgen_bits, phased=phased, resume=resume, scratch=scratch)
    if suffix == ".pgen":
        from vcfrag_core.files.pgen.writer import PgenWriter

        return PgenWriter(path, contigs=contigs, phased=chosen.pgen is PgenValues.PHASE, resume=resume, scratch=scratch)
    from vcfrag_core.files.vcf.writer import ImputedWriter

    return ImputedWriter(
        path,
        formats=chosen.formats,
        contigs=contigs,
        threads=threads,
        resume=resume,
        x_male_dosage=chosen.x_male_dosage,
        scratch=scratch,
    )


def has_rows(path: Path) -> bool:
    """Whether an output's records can be joined from rows of batches (`files.vcf.batches`)."""
    return suffix_of(path) not in _WITHOUT_FIELDS


def part_maker(
    path: Path, chosen: OutputFormat, *, contigs: Sequence[str], executor: Executor | None = None
) -> PartMaker:
    """What makes parts of an output apart from its writer, `open_writer` of the same path, choice and contigs.

    Args:
        path, chosen, contigs: As `open_writer` has them.
        executor: Threads that compress, where the format has use for them.
    """
    if suffix_of(path) in _WITHOUT_FIELDS:
        from vcfrag_core.files.assembled import RecordParts

        return RecordParts()
    from vcfrag_core.files.vcf.writer import VcfParts, formatter_of

    return VcfParts(formatter_of(path, chosen.formats, contigs, chosen.x_male_dosage), executor)
