"""An open index: the arrays that an identity stands for, and whom a query of it must not see."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from vcfrag_core.errors import RangeError, UnknownSampleError
from vcfrag_core.hashing import text_digest
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.split import Split
from vcfrag_core.retrieval.consistency import QueryBits
from vcfrag_core.retrieval.identity import Identity
from vcfrag_core.retrieval.layout import SegmentLayout
from vcfrag_core.search.engine import IndexSource, SearchTask
from vcfrag_core.types import BoolArray, I32Array, I64Array, U8Array, U64Array

NO_ROWS: I64Array = np.zeros(0, dtype=np.int64)


@dataclasses.dataclass(frozen=True, slots=True)
class HeldPanel:
    """A panel with what is computed from it once.

    Attributes:
        panel: The panel.
        digest: Its digest.
        keys: (H,) tie-breaking keys.
        row_of: Number of each sample.
    """

    panel: Panel
    digest: str
    keys: U64Array
    row_of: Mapping[str, int]

    @classmethod
    def of(cls, panel: Panel) -> HeldPanel:
        names = {name: i for i, name in enumerate(panel.samples)}
        return cls(panel, panel.digest, panel.keys, names)


@dataclasses.dataclass(frozen=True, slots=True)
class HeldSplit:
    """A split of a held panel with what is computed from it once.

    Attributes:
        split: The split.
        rows: (R,) ascending haplotypes of its reference.
        rows_of_group: Ascending numbers of reference rows of every exclusion group.
    """

    split: Split
    rows: I32Array
    rows_of_group: Mapping[str, I64Array]

    @classmethod
    def of(cls, held: HeldPanel, split: Split) -> HeldSplit:
        """
        Raises:
            UnknownSampleError: A reference sample that the panel lacks.
        """
        theirs = held.panel.rows_of(split.reference)
        numbers: dict[str, int] = {}
        of_sample = [numbers.setdefault(split.groups[name], len(numbers)) for name in split.reference]
        group = np.array(held.panel.ploidy_of(split.reference).of_haplotypes(of_sample), dtype=np.int64)
        order = np.lexsort((theirs, group))
        rows = np.sort(theirs)
        members = np.searchsorted(rows, theirs[order])
        starts = np.searchsorted(group[order], np.arange(len(numbers) + 1))
        by_group = {name: members[starts[i] : starts[i + 1]] for name, i in numbers.items()}
        return cls(split, rows.astype(np.int32), by_group)


@dataclasses.dataclass(slots=True, eq=False)
class OpenIndex:
    """An open identity.

    Attributes:
        panel_name: The name under which it was opened.
        split: Its split.
        identity: Its digests.
        source: What the engine builds from.
        rows_of_group: Reference rows of every exclusion group.
        searches: Searches answered.
    """

    panel_name: str
    split: Split
    identity: Identity
    source: IndexSource
    held: HeldPanel
    rows_of_group: Mapping[str, I64Array]
    searches: int = 0

    @property
    def handle(self) -> str:
        return self.source.handle

    @property
    def observed(self) -> BoolArray:
        return self.source.observed

    def site_label(self, site: int) -> str:
        return self.held.panel.site_label(site)

    def excluded(self, sample: str) -> I64Array:
        """Reference rows that a query of this sample must not see.

        Raises:
            UnknownSampleError: Neither the panel nor the split knows the name.
        """
        group = self.split.groups.get(sample)
        if group is None and sample not in self.held.row_of:
            raise UnknownSampleError(
                f"sample {sample!r} is neither in panel {self.panel_name!r} nor in split {self.split.name!r}: "
                "name it EXTERNAL if it is in no panel"
            )
        return self.rows_of_group.get(group, NO_ROWS) if group is not None else NO_ROWS


def handle_of(identity: Identity) -> str:
    """The handle of an identity: the same after every restart."""
    return text_digest("handle", *(getattr(identity, f.name) for f in dataclasses.fields(identity)))


def build_index(
    handle: str,
    panel_name: str,
    held: HeldPanel,
    identity: Identity,
    split: HeldSplit,
    layout: SegmentLayout,
    observed: BoolArray,
    weights: I32Array,
) -> OpenIndex:
    """The open index of an identity that was checked.

    Args:
        handle: Its name.
        panel_name: The name under which it is opened.
        held: The panel.
        identity: The five digests of what follows.
        split: The split, of this panel.
        layout: Segment borders.
        observed: (V,) the mask.
        weights: (V,) weights as whole numbers of steps.

    Raises:
        RangeError: Nothing is observed.
    """
    if not observed.any():
        raise RangeError("the mask observes no site: nothing can be retrieved")
    source = IndexSource(
        handle=handle,
        panel_name=panel_name,
        bits=held.panel.bits,
        rows=split.rows,
        keys=held.keys[split.rows],
        observed=observed,
        steps=weights,
        layout=layout,
    )
    return OpenIndex(panel_name, split.split, identity, source, held, split.rows_of_group)


def search_task(index: OpenIndex, queries: QueryBits, k: int) -> SearchTask:
    """What an engine is given of queries that were checked.

    Raises:
        UnknownSampleError: A query names somebody whom neither the panel nor the split knows.
    """
    excluded = [index.excluded(name) if isinstance(name, str) else NO_ROWS for name in queries.samples]
    sites = np.flatnonzero(index.observed[queries.start : queries.stop])
    return SearchTask(
        start=queries.start,
        stop=queries.stop,
        k=k,
        alleles=_columns(queries.allele_bits(), sites),
        called=_columns(queries.sets()["observed"], sites),
        excluded=np.concatenate(excluded),
        excluded_starts=np.cumsum([0, *(len(rows) for rows in excluded)]).astype(np.int64),
    )


def _columns(rows: U8Array, sites: I64Array) -> U8Array:
    """(Q, M) zeros and ones of (Q, bytes) bits at the given sites."""
    shifts: U8Array = (sites & 7).astype(np.uint8)
    return np.asarray((rows[:, sites >> 3] >> shifts) & np.uint8(1), dtype=np.uint8)
