"""What data sets say of one thing, together: as one says it where all agree."""

from __future__ import annotations

import json
from collections.abc import Mapping

from vcfrag_core.hashing import text_digest


def digest_of(values: Mapping[str, str]) -> str:
    """The value that all data sets have; otherwise a digest of the values by name."""
    if len(set(values.values())) == 1:
        return next(iter(values.values()))
    return text_digest("sets", json.dumps(values, sort_keys=True))


def listed(values: Mapping[str, str]) -> str:
    """The text that all data sets have; otherwise that of each after its name."""
    if len(set(values.values())) == 1:
        return next(iter(values.values()))
    return "; ".join(f"{name}: {text}" for name, text in values.items())
