"""What a query is told of the reference's hidden sites as a whole: never of haplotypes of its own group."""

from __future__ import annotations

import functools
import threading
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from vcfrag_core.errors import RangeError
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.pbwt import pbwt_changes
from vcfrag_core.types import F32Array, F64Array, I64Array, IntArray

FOLDS = 8
# None: nobody; folds; or the one group that has members in all of them.
_LeftOut = frozenset[int] | str | None


class GroupExcludedReference:
    """ALT frequencies and allele changes of a reference, for each query without its exclusion group.

    Frequencies leave out the query's own group. For allele changes samples are dealt to folds by their place in the
    panel, and a query is shown what the haplotypes say that are in no fold of its group: of a reference that holds the
    query, the number would tell, at sites with few changes, whether the query is one of the exceptions. So a sample is
    shown the same whoever else forms a group. A group with members in every fold is left out alone. Allele changes are
    made when they are first asked for. Threads may ask together.

    Args:
        panel: The panel.
        rows: (R,) haplotypes that are the reference.
        groups: R exclusion groups, one for each.

    Attributes:
        panel: The panel.
        frequency: (V,) ALT frequency among all of the reference.
    """

    def __init__(self, panel: Panel, rows: IntArray, groups: Sequence[str]) -> None:
        self.panel, self._rows = panel, np.asarray(rows, dtype=np.int64)
        self.frequency: F64Array = panel.alt_frequency(self._rows)
        self._groups = groups
        self._changes: dict[_LeftOut, F32Array] = {}
        self._lock = threading.Lock()
        self._locks: dict[_LeftOut, threading.Lock] = {}

    @functools.cached_property
    def _single(self) -> F32Array:
        return self.frequency.astype(np.float32)

    @functools.cached_property
    def _members(self) -> dict[str, I64Array]:
        """Rows of every group: nobody asks where all queries are strangers."""
        members: defaultdict[str, list[int]] = defaultdict(list)
        for row, group in zip(self._rows.tolist(), self._groups, strict=True):
            members[group].append(row)
        return {group: np.array(mine) for group, mine in members.items()}

    def frequency_for(self, groups: Sequence[str | None], start: int, stop: int) -> F32Array:
        """(Q, stop - start) ALT frequency of panel sites [start, stop) for queries of these groups.

        A group of which the reference holds nobody, or none, is shown all of it.

        Raises:
            RangeError: A group is the whole reference.
        """
        whole, n = self.frequency[start:stop], len(self._rows)
        if not any(group is not None and group in self._members for group in groups):
            # Strangers are all shown the same; nothing is copied for them.
            return np.broadcast_to(self._single[start:stop], (len(groups), stop - start))
        out = np.empty((len(groups), stop - start), dtype=np.float32)
        for shown, group in zip(out, groups, strict=True):
            mine = None if group is None else self._members.get(group)
            if mine is None:
                shown[:] = whole
                continue
            if len(mine) == n:
                raise RangeError(f"the reference holds nobody but the group {group!r} of the query")
            counts = n * whole - self.panel.haplotypes(mine, start, stop).sum(axis=0)
            shown[:] = np.clip(counts / (n - len(mine)), 0, 1)
        return out

    def changes_for(self, groups: Sequence[str | None], start: int, stop: int) -> F32Array:
        """(Q, 2, stop - start) `pbwt_changes` of panel sites [start, stop) for queries of these groups."""
        shown = [self._changes_without(self._left_out(group))[:, start:stop] for group in groups]
        if all(one.base is shown[0].base for one in shown):
            # Strangers are all shown the same; nothing is copied for them.
            return np.broadcast_to(shown[0], (len(shown), *shown[0].shape))
        return np.stack(shown)

    def prepare(self) -> None:
        """Makes the allele changes for strangers."""
        self._changes_without(None)

    def _left_out(self, group: str | None) -> _LeftOut:
        mine = None if group is None else self._members.get(group)
        if group is None or mine is None:
            return None
        folds = frozenset(self._folds(mine).tolist())
        return folds if len(folds) < len(set(self._folds(self._rows).tolist())) else group

    def _folds(self, rows: I64Array) -> I64Array:
        """Fold of each haplotype: that of its sample."""
        return self.panel.ploidy.sample_of[rows] % FOLDS

    def _changes_without(self, left_out: _LeftOut) -> F32Array:
        with self._lock:
            mine = self._locks.setdefault(left_out, threading.Lock())
        with mine:
            if left_out not in self._changes:
                self._changes[left_out] = self._make(left_out)
            return self._changes[left_out]

    def _make(self, left_out: _LeftOut) -> F32Array:
        if left_out is None:
            every = np.array_equal(self._rows, np.arange(self.panel.n_haplotypes))
            counted = self.panel.allele_changes if every else None
            return pbwt_changes(self.panel.bits, self._rows, self.frequency, counted)
        if isinstance(left_out, str):
            rows = np.setdiff1d(self._rows, self._members[left_out], assume_unique=True)
        else:
            rows = self._rows[~np.isin(self._folds(self._rows), list(left_out))]
        return pbwt_changes(self.panel.bits, rows, self.panel.alt_frequency(rows))
