"""Phased targets that serve as references: others of their cohort copy their phase from them, beside the panel."""

from __future__ import annotations

import dataclasses
import functools
from typing import Final, Self

import numpy as np

from vcfrag_core.errors import ShapeError
from vcfrag_core.hashing import hasher, update_part, update_strings
from vcfrag_core.panel import bits
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.ploidy import Ploidy
from vcfrag_core.panel.split import Split
from vcfrag_core.panel.storage import DenseBits
from vcfrag_core.retrieval.queries import External
from vcfrag_core.types import BoolArray, I8Array, I32Array, U8Array

# No sample of a file has a tab in its name: a target's never is a panel sample's.
_SERVES: Final = "target\t"
# Whoever is heterozygous at so many of another's heterozygotes is the same person, an identical twin, or a sibling who
# shares both haplotypes there.
SAME_HETEROZYGOTES: Final = 0.95
_COMPARED: Final = 1000


@dataclasses.dataclass(frozen=True, kw_only=True)
class TargetReference:
    """Phased targets at the typed sites of a stretch.

    Attributes:
        typed: Digest of the mask: which sites of the panel these are.
        samples: S names.
        people: S panel samples that they are, whose exclusion groups they share; "" for a person outside the panel.
        packed: (2 S, ceil(M / 8)) alleles, two rows for each sample; a missing call is the panel's commoner allele.
        n_sites: M.
    """

    typed: str
    samples: tuple[str, ...]
    people: tuple[str, ...]
    packed: U8Array
    n_sites: int

    def __post_init__(self) -> None:
        shape = (2 * len(self.samples), bits.n_bytes(self.n_sites))
        if self.packed.shape != shape or len(self.people) != len(self.samples):
            raise ShapeError(f"{len(self.samples)} samples, {len(self.people)} people, alleles of {self.packed.shape}")

    @classmethod
    def of(cls, typed: str, samples: tuple[str, ...], people: tuple[str, ...], haplotypes: I8Array) -> Self:
        """From (2 S, M) alleles without missing ones."""
        packed = bits.pack(haplotypes.astype(np.uint8))
        return cls(typed=typed, samples=samples, people=people, packed=packed, n_sites=haplotypes.shape[1])

    @functools.cached_property
    def digest(self) -> str:
        """Of everything in it."""
        made = hasher("serving")
        update_part(made, self.typed)
        update_strings(made, self.samples)
        update_strings(made, self.people)
        update_part(made, self.packed.tobytes())
        return made.hexdigest()

    @functools.cached_property
    def _numbers(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.samples)}

    @functools.cached_property
    def _heterozygous(self) -> BoolArray:
        """(S, M)."""
        return np.asarray(bits.unpack(self.packed[::2] ^ self.packed[1::2], 0, self.n_sites).astype(np.bool_))

    def haplotypes_of(self, sample: str) -> I8Array | None:
        """(2, M) alleles of a sample; None unless it serves."""
        number = self._numbers.get(sample)
        if number is None:
            return None
        return bits.unpack(self.packed[2 * number : 2 * number + 2], 0, self.n_sites).astype(np.int8)

    def query_name(self, sample: str, name: str | External) -> str | External:
        """What a sample is called when neighbours are searched among panel and targets, so that it is not its own.

        Args:
            sample: Its name.
            name: The panel sample that it is, or EXTERNAL.
        """
        return _SERVES + sample if sample in self._numbers else name

    def join(self, panel: Panel, split: Split) -> tuple[Panel, Split]:
        """The panel at the typed sites with these targets behind its rows, and the split of both.

        A target is of the group of the panel sample that it is, or of its own.

        Args:
            panel: The panel at the typed sites.
            split: Of the panel.

        Raises:
            ShapeError: The panel has other sites.
        """
        if panel.n_sites != self.n_sites:
            raise ShapeError(f"targets that serve as references have {self.n_sites} sites, the panel {panel.n_sites}")
        names = tuple(_SERVES + sample for sample in self.samples)
        both = dataclasses.replace(
            panel,
            samples=(*panel.samples, *names),
            ploidy=Ploidy.of([*panel.ploidy.counts.tolist(), *[2] * len(names)]),
            bits=DenseBits(np.concatenate([panel.packed, self.packed]), self.n_sites),
        )
        own = {name: split.groups.get(person, person) or name for name, person in zip(names, self.people, strict=True)}
        return both, dataclasses.replace(split, reference=both.samples, groups={**split.groups, **own})

    def rows_like(self, sample: str, genotypes: I8Array, n_before: int) -> I32Array:
        """Rows of those who are heterozygous where this sample is, itself left out.

        One person under two names, or identical twins, have the same phase to find: whoever copied from the other would
        only take over what the other did not know.

        Args:
            sample: Its name.
            genotypes: (M,) its ALT copies, -1 missing.
            n_before: Rows before these.
        """
        sites = np.flatnonzero(genotypes == 1)
        sites = sites[:: 1 + len(sites) // _COMPARED]
        like = np.flatnonzero(self._heterozygous[:, sites].mean(axis=1) >= SAME_HETEROZYGOTES) if len(sites) else sites
        like = like[like != self._numbers.get(sample, -1)]
        return (n_before + np.stack([2 * like, 2 * like + 1], axis=1).reshape(-1)).astype(np.int32)

    def own_rows(self, sample: str, n_before: int) -> I32Array:
        """Rows of a sample itself; none unless it serves.

        Args:
            sample: Its name.
            n_before: Rows before these.
        """
        number = self._numbers.get(sample)
        first = n_before + 2 * (number or 0)
        return np.array([] if number is None else [first, first + 1], dtype=np.int32)
