"""Which of many are looked at, where not all are."""

from __future__ import annotations

import numpy as np

from vcfrag_core.types import I64Array


def evenly(numbers: I64Array, most: int) -> I64Array:
    """At most so many of the numbers, evenly spread, in their order; all where there are no more."""
    return numbers if len(numbers) <= most else numbers[np.arange(most) * len(numbers) // most]
