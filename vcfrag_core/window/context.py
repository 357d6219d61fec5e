"""What all windows of one panel have in common."""

from __future__ import annotations

import dataclasses
import threading
from collections import OrderedDict

from vcfrag_core.copying.problem import PanelColumns
from vcfrag_core.copying.reference import CopyingSites
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.windows import Window
from vcfrag_core.types import F64Array


class RecentColumns:
    """A panel's columns of the last windows and masks: the batches of a visit have one of each. Safe in threads.

    Args:
        panel: The panel.
        max_kept: Windows and masks whose columns are kept.
    """

    def __init__(self, panel: Panel, max_kept: int) -> None:
        self._bits = panel.bits
        self._max_kept = max_kept
        self._lock = threading.Lock()
        self._made: OrderedDict[tuple[int, int, bytes], PanelColumns] = OrderedDict()

    def of(self, window: Window, sites: CopyingSites) -> PanelColumns:
        """Those for imputing all sites of the window from the observed ones."""
        key = (window.start, window.stop, sites.observed.tobytes())
        with self._lock:
            if key not in self._made:
                same = next((self._made[other] for other in self._made if other[:2] == key[:2]), None)
                made = PanelColumns.of(self._bits, sites) if same is None else same.under(self._bits, sites)
                self._made[key] = made
                if len(self._made) > self._max_kept:
                    self._made.popitem(last=False)
            self._made.move_to_end(key)
            return self._made[key]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PanelContext:
    """A panel and what its windows share.

    Attributes:
        panel: The panel.
        cm: (V,) genetic positions of its sites.
        columns: Panel columns of the windows and masks that came last; made anew for each window without it.
    """

    panel: Panel
    cm: F64Array
    columns: RecentColumns | None = None

    def columns_of(self, window: Window, sites: CopyingSites) -> PanelColumns:
        """What copying reads of the panel for these sites of the window."""
        if self.columns is None or len(sites.sites) != window.stop - window.start:
            return PanelColumns.of(self.panel.bits, sites)
        return self.columns.of(window, sites)
