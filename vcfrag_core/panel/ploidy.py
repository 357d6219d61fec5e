"""How many haplotypes each sample has: the one place that knows which rows of haplotypes are whose."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeVar

import numpy as np

from vcfrag_core.errors import RangeError, ShapeError
from vcfrag_core.shapes import repr_by_shape
from vcfrag_core.types import BoolArray, I64Array, IntArray, U8Array

NOBODY: Final = -1
T = TypeVar("T")


@dataclasses.dataclass(frozen=True, eq=False)
class Ploidy:
    """Haplotypes of S samples on one stretch of a contig, along which the number of each does not change.

    Haplotypes are numbered sample by sample, in the order of the samples: those of sample s are
    `starts[s]` to `starts[s + 1] - 1`. A male beyond the pseudo-autosomal regions of X has one however he is written.

    Attributes:
        counts: (S,) haplotypes of each sample, 1 or 2; not to be written to.

    Raises:
        RangeError: Another number of haplotypes.
    """

    counts: U8Array

    __repr__ = repr_by_shape

    def __post_init__(self) -> None:
        if self.counts.ndim != 1 or self.counts.dtype != np.uint8:
            raise ShapeError(f"counts must be uint8 (S,), got {self.counts.dtype} {self.counts.shape}")
        if not bool(((self.counts == 1) | (self.counts == 2)).all()):
            raise RangeError("a sample has one haplotype or two")

    @classmethod
    def of(cls, counts: IntArray | Sequence[int]) -> Ploidy:
        """That of samples with so many haplotypes each.

        Raises:
            RangeError: One has another number than 1 or 2.
        """
        given = np.asarray(counts, dtype=np.int64)
        if not bool(((given == 1) | (given == 2)).all()):
            raise RangeError("a sample has one haplotype or two")
        return cls(given.astype(np.uint8))

    @classmethod
    def diploid(cls, n_samples: int) -> Ploidy:
        """Two haplotypes for everybody."""
        return cls(np.full(n_samples, 2, dtype=np.uint8))

    @classmethod
    def haploid(cls, n_samples: int) -> Ploidy:
        """One haplotype for everybody."""
        return cls(np.ones(n_samples, dtype=np.uint8))

    @classmethod
    def of_rows(cls, n_haplotypes: int, given: Ploidy | None) -> Ploidy:
        """That of so many rows of haplotypes: the one given, else each two in turn are a sample.

        Raises:
            ShapeError: There are not so many haplotypes.
        """
        if given is None and n_haplotypes % 2:
            raise ShapeError(f"{n_haplotypes} haplotypes are no pairs; say whose they are with `ploidy`")
        ploidy = given or cls.diploid(n_haplotypes // 2)
        ploidy._check(n_haplotypes)
        return ploidy

    @classmethod
    def parse(cls, text: str) -> Ploidy:
        """What `str` writes.

        Raises:
            RangeError: Something else.
        """
        runs = [part.split("x") for part in text.split()]
        if not all(len(run) == 2 and run[0] in ("1", "2") and run[1].isdecimal() for run in runs):
            raise RangeError(f"{text[:40]!r} is no ploidy")
        return cls(np.repeat([int(n) for n, _ in runs], [int(times) for _, times in runs]).astype(np.uint8))

    def __str__(self) -> str:
        """Runs of equal counts, such as `2x100 1x96`."""
        return " ".join(f"{n}x{len(list(run))}" for n, run in itertools.groupby(self.counts.tolist()))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ploidy) and np.array_equal(self.counts, other.counts)

    def __hash__(self) -> int:
        return hash(self.counts.tobytes())

    @property
    def n_samples(self) -> int:
        return len(self.counts)

    @property
    def n_haplotypes(self) -> int:
        return int(self.starts[-1])

    @functools.cached_property
    def is_diploid(self) -> bool:
        """Whether everybody has two."""
        return bool((self.counts == 2).all())

    @property
    def is_haploid(self) -> BoolArray:
        """(S,) samples with one."""
        return np.asarray(self.counts == 1)

    @functools.cached_property
    def starts(self) -> I64Array:
        """(S + 1,) first haplotype of each sample, and H."""
        return np.concatenate([[0], np.cumsum(self.counts, dtype=np.int64)])

    @functools.cached_property
    def sample_of(self) -> I64Array:
        """(H,) sample of each haplotype."""
        return np.repeat(np.arange(self.n_samples), self.counts)

    @functools.cached_property
    def partner_of(self) -> I64Array:
        """(H,) the other haplotype of the same sample, NOBODY where there is none."""
        firsts = self.starts[:-1][self.counts == 2]
        partners = np.full(self.n_haplotypes, NOBODY, dtype=np.int64)
        partners[firsts], partners[firsts + 1] = firsts + 1, firsts
        return partners

    def span(self, sample: int) -> range:
        """Haplotypes of a sample."""
        return range(int(self.starts[sample]), int(self.starts[sample + 1]))

    def rows(self, samples: IntArray | Sequence[int]) -> I64Array:
        """Haplotypes of the samples, in the order given."""
        chosen = np.asarray(samples, dtype=np.int64)
        counts = self.counts[chosen].astype(np.int64)
        before = np.cumsum(counts) - counts
        return np.repeat(self.starts[chosen] - before, counts) + np.arange(counts.sum())

    def select(self, samples: IntArray | Sequence[int]) -> Ploidy:
        """That of the samples, in the order given."""
        return Ploidy(self.counts[np.asarray(samples, dtype=np.int64)])

    def of_haplotypes(self, of_samples: Iterable[T]) -> tuple[T, ...]:
        """H values from S, the same for all haplotypes of a sample."""
        each = zip(of_samples, self.counts.tolist(), strict=True)
        return tuple(value for value, n in each for _ in range(n))

    def sums(self, values: np.ndarray[Any, np.dtype[Any]]) -> np.ndarray[Any, np.dtype[Any]]:
        """(S, ...) sums of (H, ...) values over the haplotypes of each sample, of their own kind."""
        self._check(len(values))
        if self.is_diploid:
            return np.asarray(values[0::2] + values[1::2])
        total = values[self.starts[:-1]]
        two = self.counts == 2
        total[two] += values[self.starts[:-1][two] + 1]
        return total

    def copies(self, values: np.ndarray[Any, np.dtype[Any]]) -> np.ndarray[Any, np.dtype[Any]]:
        """`sums` in which a lone haplotype counts twice: ALT copies on one scale for everybody, 0 to 2."""
        total = self.sums(values)
        if not self.is_diploid:
            total[self.is_haploid] *= 2
        return total

    def every(self, flags: BoolArray) -> BoolArray:
        """(S, ...) whether (H, ...) flags hold for all haplotypes of a sample."""
        self._check(len(flags))
        return np.asarray(flags[self.starts[:-1]] & flags[self.starts[1:] - 1])

    def pairs(self, values: np.ndarray[Any, np.dtype[Any]], lone: float) -> np.ndarray[Any, np.dtype[Any]]:
        """(S, 2, ...) values of both haplotypes from (H, ...), `lone` where a sample has no second."""
        self._check(len(values))
        if self.is_diploid:
            return values.reshape(self.n_samples, 2, *values.shape[1:])
        made = np.full((self.n_samples, 2, *values.shape[1:]), lone, dtype=values.dtype)
        made[self.in_pairs] = values
        return made

    @functools.cached_property
    def in_pairs(self) -> BoolArray:
        """(S, 2) places of the H haplotypes among pairs."""
        return np.stack([np.ones(self.n_samples, dtype=np.bool_), self.counts == 2], axis=1)

    def _check(self, n_haplotypes: int) -> None:
        if n_haplotypes != self.n_haplotypes:
            raise ShapeError(f"{self.n_samples} samples have {self.n_haplotypes} haplotypes, got {n_haplotypes}")
