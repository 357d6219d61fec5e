"""Room on disk, asked for before there is something to lose: on each file system all that will lie there at once."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vcfrag_core.errors import ConfigError
from vcfrag_core.files.outputs import OutputFormat, has_rows, suffix_of

if TYPE_CHECKING:
    from vcfrag_train.imputing.config import ImputeConfig

# Bytes of a genotype in common data (docs/scale.md); where rare sites prevail it takes a tenth.
_OF_FIELD: Final = {"GT": 0.5, "DS": 0.8, "HDS": 1.2, "GP": 1.5, "LOO": 0.1, "PP": 0.4}
_OF_BGEN: Final = {8: 2.9, 16: 3.6}
_OF_PGEN: Final = 1.5
DOSAGES: Final = 1.3
# With less than this share of it no run ends well.
_LEAST_SHARE: Final = 0.25


@dataclasses.dataclass(frozen=True, slots=True)
class Need:
    """What a run writes to a folder, and does not remove before the others are there: what it is, and its bytes."""

    folder: Path
    what: str
    n_bytes: float


def output_bytes(path: Path, chosen: OutputFormat) -> float:
    """What a genotype takes in an output, about."""
    if suffix_of(path) == ".bgen":
        return _OF_BGEN[chosen.bgen_bits]
    if suffix_of(path) == ".pgen":
        return _OF_PGEN
    return sum(_OF_FIELD[field] for field in chosen.formats)


def part_bytes(path: Path, chosen: OutputFormat) -> float:
    """What a genotype takes in a part of an output that is not yet whole, about."""
    return output_bytes(path, chosen) if has_rows(path) else DOSAGES


def check_room(needs: Iterable[Need]) -> list[str]:
    """Refuses a run that the disks have no room for, and says where they may have too little.

    Raises:
        ConfigError: A file system has far less room than the run needs there.
    """
    disks: dict[int, list[Need]] = {}
    for need in needs:
        disks.setdefault(_device(need.folder), []).append(need)
    return [line for there in disks.values() for line in _check_disk(there)]


def _check_disk(needs: Sequence[Need]) -> list[str]:
    needed, free = sum(need.n_bytes for need in needs), _free(needs[0].folder)
    if free >= needed:
        return []
    each = ", ".join(f"{need.what} {_size(need.n_bytes)}" for need in needs)
    words = f"{needs[0].folder}: this takes about {_size(needed)} there ({each}), {_size(free)} are free"
    if free < _LEAST_SHARE * needed:
        raise ConfigError(f"{words}; make room, or name another disk by --scratch (temporary files) or --out")
    return [f"{words}; how much it is depends on the data, and with --resume it goes on where the disk was full"]


def _size(n_bytes: float) -> str:
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e8 else f"{n_bytes / 1e6:.1f} MB"


def _device(folder: Path) -> int:
    return folder.stat().st_dev


def _free(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def needs_of_contigs(config: ImputeConfig, contigs: Sequence[str], n_samples: int) -> list[Need]:
    """What a run of several contigs writes, where the panel tells before it is read; one contig is asked for later."""
    # `merge` asks for room, too, and needs neither panels nor choices of sites.
    from vcfrag_train.imputing.regions import sites_about
    from vcfrag_train.imputing.selection import SiteChoice

    if len(contigs) == 1 or config.resume or config.sites not in (SiteChoice.ALL, SiteChoice.IMPUTED):
        return []
    n_sites = sites_about(config.panel, contigs)
    return [] if n_sites is None else needs_of_run(config, n_samples, n_sites, n_sites)


def needs_of_run(config: ImputeConfig, n_samples: int, n_sites: int, n_written: int) -> list[Need]:
    """What one process writes.

    Args:
        config: The run.
        n_samples: Samples in the output.
        n_sites: Sites of which parts are yet to be written.
        n_written: Sites of the output.
    """
    parts = n_samples * n_sites * part_bytes(config.out, config.output_format)
    whole = n_samples * n_written * output_bytes(config.out, config.output_format)
    folder = config.out.absolute().parent
    return [Need(folder, config.out.name, whole), Need(config.scratch or folder, "its parts", parts)]
