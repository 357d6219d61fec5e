"""Which samples are imputed, and which of the imputed sites are written."""

from __future__ import annotations

import dataclasses
import enum
import functools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vcfrag_core.errors import EmptyInputError, SampleTableError, UnknownContigError
from vcfrag_core.files.tables.sites import SiteKey, label, read_typed_sites, site_rows
from vcfrag_core.files.tables.text import file_state, numbered_lines
from vcfrag_core.panel.panel import Panel
from vcfrag_core.targets.calls import TargetCalls
from vcfrag_core.types import BoolArray


class SiteChoice(enum.StrEnum):
    """Sites that are written, where no file names them."""

    ALL = "all"
    IMPUTED = "imputed"
    TYPED = "typed"


def parse_sites(text: str) -> SiteChoice | Path:
    """`all`, `imputed`, `typed`, or the file that anything else names."""
    return SiteChoice(text) if text in set(SiteChoice) else Path(text)


def read_names(path: Path) -> tuple[str, ...]:
    """Sample names, one a line.

    Raises:
        SampleTableError: No such file, no name, or one that comes twice.
    """
    names = [line.strip() for _, line in numbered_lines(path, SampleTableError)]
    if not names:
        raise SampleTableError("the file names no sample", path=path)
    again = [name for name, n in Counter(names).items() if n > 1]
    if again:
        raise SampleTableError("is named twice", path=path, sample=again[0])
    return tuple(names)


def select_samples(calls: TargetCalls, path: Path) -> TargetCalls:
    """The calls of the samples that a file names, in the target's order.

    Raises:
        SampleTableError: The file cannot be used, or names a sample that the target does not have.
    """
    names = set(read_names(path))
    absent = sorted(names.difference(calls.samples))
    if absent:
        more = f" (and {len(absent) - 1} others)" if len(absent) > 1 else ""
        raise SampleTableError(f"is no sample of {calls.source}{more}", path=path, sample=absent[0])
    chosen = [i for i, name in enumerate(calls.samples) if name in names]
    return dataclasses.replace(
        calls,
        samples=tuple(calls.samples[i] for i in chosen),
        sexes=tuple(calls.sexes[i] for i in chosen),
        alleles=calls.alleles[:, chosen],
        is_phased=calls.is_phased[:, chosen],
        phase_sets=None if calls.phase_sets is None else calls.phase_sets[:, chosen],
    )


def not_in_panel(panel: Panel, sites: Path, *, stretch: str, region: str | None) -> tuple[str, ...]:
    """Labels of the sites of a file, on the panel's contig, that the panel does not have, in order.

    Args:
        panel: The panel.
        sites: A VCF or table of sites.
        stretch: What the contig, or this stretch of it, is called. Of a stretch, or in a region, sites before the
            panel's first and behind its last are not asked for here.
        region: The region that was asked for.

    Raises:
        InputError: The file cannot be used.
    """
    there = set(zip(panel.positions.tolist(), panel.refs, panel.alts, strict=True))
    is_part = stretch != panel.contig or region is not None
    low, high = panel.positions[[0, -1]].tolist() if is_part else (0, np.inf)
    absent = sorted(key for key in _sites_of(sites, panel.contig) - there if low <= key[0] <= high)
    return tuple(label(panel.contig, key) for key in absent)


def chosen_sites(panel: Panel, observed: BoolArray, sites: SiteChoice | Path) -> BoolArray:
    """(V,) sites that the user wants written.

    Args:
        panel: The panel.
        observed: (V,) the typed ones.
        sites: The choice, or a VCF or table of sites; its sites on other contigs do not matter here.

    Raises:
        InputError: The file cannot be used.
    """
    if isinstance(sites, SiteChoice):
        every = np.ones(panel.n_sites, dtype=np.bool_)
        return {SiteChoice.ALL: every, SiteChoice.TYPED: observed, SiteChoice.IMPUTED: ~observed}[sites]
    wanted = _sites_of(sites, panel.contig)
    rows = site_rows(panel.positions.tolist(), panel.refs, panel.alts)
    chosen = np.zeros(panel.n_sites, dtype=np.bool_)
    chosen[[rows[key] for key in wanted if key in rows]] = True
    return chosen


def _sites_of(sites: Path, contig: str) -> frozenset[SiteKey]:
    """What a file names on a contig; nothing where it is of others. It is read once for a contig."""
    return _read_sites(sites, contig, file_state(sites))


@functools.lru_cache(maxsize=1)
def _read_sites(sites: Path, contig: str, state: tuple[int, ...]) -> frozenset[SiteKey]:
    try:
        return read_typed_sites(sites, contig)
    except (EmptyInputError, UnknownContigError):
        return frozenset()


def describe(names: Sequence[str], n_all: int) -> str:
    """What `--samples` left, in one line."""
    return f"{len(names)} of {n_all} target samples are chosen (--samples)"
