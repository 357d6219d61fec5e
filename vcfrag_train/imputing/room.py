"""Room on disk, asked for before there is something to lose."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from vcfrag_core.errors import ConfigError

# What a genotype takes in a chunk of dosages, about; with all fields of a VCF it takes more.
_BYTES_PER_GENOTYPE: Final = 1.0


def check_room(folders: Iterable[Path], n_genotypes: int) -> None:
    """Refuses a run that the disks have no room for.

    Args:
        folders: Where its temporary files and its outputs lie.
        n_genotypes: Sites written times samples.

    Raises:
        ConfigError: A folder's disk has less room than that.
    """
    needed = int(_BYTES_PER_GENOTYPE * n_genotypes)
    for place in dict.fromkeys(folders):
        free = shutil.disk_usage(place).free
        if free < needed:
            raise ConfigError(
                f"{place}: the run needs {needed / 1e9:.1f} GB there at least, {free / 1e9:.1f} GB are free; make room,"
                " or name another disk by --scratch (temporary files) or --out"
            )
