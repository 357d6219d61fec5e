"""Splits: which samples are reference, which are held out, and whom a query must never see."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from vcfrag_core.errors import ConfigError, HeldOutSampleError


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """A named role with its reference samples and every sample's exclusion group.

    Attributes:
        name: `train`, `validation`, `infer`, or a user's own.
        reference: Samples that may be retrieved.
        held_out: Samples that must not be in the reference.
        groups: Exclusion group (the person, or the family) of every reference and held-out sample; a query is
            never shown a haplotype of its own group.
    """

    name: str
    reference: tuple[str, ...]
    held_out: tuple[str, ...] = ()
    groups: Mapping[str, str]

    def __post_init__(self) -> None:
        if not self.name or not self.reference:
            raise ConfigError(f"split {self.name!r} needs a name and at least one reference sample")
        for role, names in (("reference", self.reference), ("held-out", self.held_out)):
            if len(set(names)) != len(names):
                raise ConfigError(f"split {self.name!r} names a {role} sample twice")
            missing = [s for s in names if not self.groups.get(s)]
            if missing:
                raise ConfigError(f"split {self.name!r}: {role} sample {missing[0]!r} has no exclusion group")
        both = sorted(set(self.reference) & set(self.held_out))
        if both:
            raise HeldOutSampleError(
                f"split {self.name!r} holds {len(both)} held-out samples in its reference, the first is {both[0]!r}"
            )
