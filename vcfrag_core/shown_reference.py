"""What a query is told of the reference as a whole, beside its candidates: never of haplotypes of its own group."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from vcfrag_core.allele_changes import allele_changes
from vcfrag_core.panel import Panel
from vcfrag_core.types import F32Array, F64Array, I64Array, IntArray

FOLDS = 8


class ShownReference:
    """ALT frequencies and allele changes of a reference, for each query without its exclusion group.

    Frequencies leave out the query's own group. For allele changes samples are dealt to folds by their place in the
    panel, a group to that of its first sample, and a query is shown what the haplotypes of the other folds say: of a
    reference that holds the query, the number would tell, at sites with few changes, whether the query is one of the
    exceptions. Each is made when it is first asked for. Threads may ask together.

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
        members: defaultdict[str, list[int]] = defaultdict(list)
        for row, group in zip(self._rows.tolist(), groups, strict=True):
            members[group].append(row)
        self._members: dict[str, I64Array] = {group: np.array(mine) for group, mine in members.items()}
        self._fold_of_row = np.array([members[group][0] // 2 % FOLDS for group in groups], dtype=np.int64)
        self._changes: dict[int | None, F32Array] = {}
        self._locks = {fold: threading.Lock() for fold in (None, *range(FOLDS))}

    def frequency_for(self, groups: Sequence[str | None], start: int, stop: int) -> F32Array:
        """(Q, stop - start) ALT frequency of panel sites [start, stop) for queries of these groups.

        A group of which the reference holds nobody, or none, is shown all of it.
        """
        whole, n = self.frequency[start:stop], len(self._rows)
        out = np.empty((len(groups), stop - start), dtype=np.float32)
        for shown, group in zip(out, groups, strict=True):
            mine = None if group is None else self._members.get(group)
            if mine is None:
                shown[:] = whole
            else:
                counts = n * whole - self.panel.haplotypes(mine, start, stop).sum(axis=0)
                shown[:] = np.clip(counts / (n - len(mine)), 0, 1)
        return out

    def changes_for(self, groups: Sequence[str | None], start: int, stop: int) -> F32Array:
        """(Q, 2, stop - start) `allele_changes` of panel sites [start, stop) for queries of these groups."""
        return np.stack([self._changes_without(self._fold_of(group))[:, start:stop] for group in groups])

    def prepare(self) -> None:
        """Makes the allele changes for strangers."""
        self._changes_without(None)

    def _fold_of(self, group: str | None) -> int | None:
        mine = None if group is None else self._members.get(group)
        return None if mine is None else int(mine[0]) // 2 % FOLDS

    def _changes_without(self, fold: int | None) -> F32Array:
        with self._locks[fold]:
            if fold not in self._changes:
                rows = self._rows if fold is None else self._rows[self._fold_of_row != fold]
                self._changes[fold] = allele_changes(self.panel.packed, rows, self.panel.alt_frequency(rows))
            return self._changes[fold]
