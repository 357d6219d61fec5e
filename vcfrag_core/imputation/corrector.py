"""A trained model at work in imputation: corrects the dosages of copying at the uncertain sites."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Sequence
from typing import Protocol, Self

import numpy as np

from vcfrag_core.evidence.evidence import DOSAGE_FEATURE, FREQUENCY_FEATURE, STRICT_FEATURE, Evidence
from vcfrag_core.evidence.inputs import candidate_inputs, site_inputs
from vcfrag_core.model.config import ModelConfig
from vcfrag_core.model.scores import Bin, ValidationScores
from vcfrag_core.types import BoolArray, F32Array, F64Array

# A call of the model sees so many sites of one query, or what is left of it: the shape of matrix products depends on
# the query alone, and so its answer does not depend on its company.
SITES_PER_CALL = 256
_MIN_PRIOR = np.float32(1e-7)
# Beyond it the probability is 0 or 1, and e to it no longer a float32.
_MAX_DELTA = np.float32(60)
# In a panel smaller than any of training an allele of so few haplotypes has a frequency that many shared in training:
# half of its correction is taken where typed sites are dense, and all of it where they are half as dense or less, as it
# does no harm there (docs/decisions/model-by-the-targets.md).
_FEW_COPIES = 2
_SHARE_OF_FEW = 0.5
# Alleles as rare as this are young, and shared over shorter stretches than those that the rates are estimated from.
_RARE = np.float32(1e-3)


class LearnedCopying(Protocol):
    """What a model says of copying that it was trained together with.

    Attributes:
        switch_factor: What to multiply the switch rate by.
    """

    switch_factor: float

    def site_weights(self, frequency: F64Array) -> F32Array:
        """(V,) emission weights for (V,) reference frequencies."""


class Network(Protocol):
    """A trained model as imputation sees it: `vcfrag_core.model.one_layer.OneLayer`, or any other by torch.

    Attributes:
        config: Its shape.
        eta: Share of the reference frequency in the prior.
    """

    config: ModelConfig
    eta: float

    @property
    def learned_copying(self) -> LearnedCopying | None:
        """What it says of copying, where it was trained to."""

    def correction(self, candidates_FTN: F32Array, sites_GN: F32Array) -> F32Array:
        """(N,) log-odds to add to the prior's, from inputs as of `vcfrag_core.evidence.inputs`."""

    def undisturbed(self) -> contextlib.AbstractContextManager[None]:
        """Within it `correction` may be called, from several threads."""


class Corrector:
    """Applies a model to evidence, query by query.

    Args:
        network: The trained model.
        name: What it is, for records: its digest and run.
        left_to_copying: MAF bins (low, high] whose sites keep the dosage of copying; those of the scores unless given.
        scores: How it did on held-out samples.
        differs: What is not as in training, such as `panel` and `map`.
        reference_samples: Samples of the smallest and the largest reference in training, where that is known.

    Attributes:
        length_factor: What genetic lengths are multiplied by before it sees them.
        share: How much of what it adds to the log-odds of copying is added, in (0, 1].
    """

    def __init__(
        self,
        network: Network,
        name: str,
        *,
        left_to_copying: Sequence[Bin] | None = None,
        scores: ValidationScores | None = None,
        differs: Sequence[str] = (),
        reference_samples: tuple[int, int] | None = None,
    ) -> None:
        self.network = network
        self._name = name
        self._scores = scores
        if left_to_copying is None:
            left_to_copying = () if scores is None else scores.left_to_copying()
        self.left_to_copying = tuple(left_to_copying)
        self._disputed: tuple[Bin, ...] = ()
        self._maf_of_few = np.float32(0)
        self.differs = tuple(differs)
        self.reference_samples = reference_samples
        self.learned_copying = network.learned_copying
        self.n_candidates = network.config.candidates
        self.length_factor = 1.0
        self.share = 1.0
        self._is_trusted = False

    @property
    def is_validated(self) -> bool:
        """Whether anything is known of how it did on held-out samples."""
        return self._scores is not None and bool(self._scores.table)

    @property
    def verdict(self) -> dict[str, bool | float]:
        """What `judged` was told, as `Imputer.judged` takes it."""
        return {
            "used": True,
            "trusted": self._is_trusted,
            "length_factor": self.length_factor,
            "share": self.share,
        }

    @property
    def name(self) -> str:
        """What it is, what share of it counts, its unit of lengths, and the bins it leaves to copying, for records."""
        lengths = "" if self.length_factor == 1 else f" length_factor={self.length_factor:.6g}"
        share = "" if self.share == 1 else f" share={self.share:.6g}"
        return (
            self._name
            + share
            + lengths
            + "".join(f" copying_at_maf={low:g}-{high:g}" for low, high in self.left_to_copying)
        )

    def judged(self, *, trusted: bool, length_factor: float, share: float) -> Self:
        """The same as targets want it: `trusted`, seeing lengths times a factor, and counting by a share."""
        other = copy.copy(self.trusted() if trusted else self)
        other.length_factor, other.share, other._is_trusted = length_factor, share, trusted
        return other

    def for_reference(self, n_samples: int) -> Self:
        """The same for a reference of so many samples.

        Of training on several sizes, that is the bins left to copying; of a reference smaller than any of training,
        what alleles of few copies are.
        """
        other = copy.copy(self)
        is_smaller = self.reference_samples is not None and n_samples < self.reference_samples[0]
        if is_smaller:
            other._maf_of_few = np.float32((_FEW_COPIES + 0.5) / (2 * n_samples))
        if self._scores is None or not self._scores.sizes:
            return other if is_smaller else self
        other.left_to_copying = self._scores.left_to_copying(n_samples)
        other._disputed = self._scores.disputed(n_samples)
        return other

    def trusted(self) -> Self:
        """The same for data in which copying errs: what its data sets dispute for this reference is corrected, too."""
        if not self._disputed:
            return self
        other = copy.copy(self)
        other.left_to_copying = tuple(one for one in self.left_to_copying if one not in self._disputed)
        other._disputed = ()
        return other

    def correct(self, evidence: Evidence, *, dense_share: float = 0.0) -> F32Array:
        """(Q, L) dosages: those of copying, corrected at the uncertain sites; call it within the network's context.

        Args:
            evidence: Of copying.
            dense_share: How dense typed sites are, from 0 to 1. By so much the strict way to copy counts at the rarest
                sites, where the model leaves those to copying (docs/decisions/context-and-neighbours.md); beyond a
                half alleles of few copies are believed less.
        """
        corrected = evidence.dosage.copy()
        left = self._left_to_copying(evidence)
        _mix_in_strict(corrected, evidence.at(left), dense_share)
        evidence = evidence.at(~left) if left.any() else evidence
        few, denser = _maf(evidence) < self._maf_of_few, max(0.0, 2 * dense_share - 1)
        share_of_few = 1 - (1 - _SHARE_OF_FEW) * denser
        borders = np.searchsorted(evidence.query, np.arange(len(corrected) + 1))
        for start, stop in zip(borders[:-1], borders[1:], strict=True):
            for first in range(int(start), int(stop), SITES_PER_CALL):
                part = slice(first, min(first + SITES_PER_CALL, int(stop)))
                where = evidence.query[part], evidence.site[part]
                copied, found = corrected[where], self._probabilities(evidence.candidates[part], evidence.sites[part])
                if self.share != 1:
                    found = between(copied, found, self.share)
                some = few[part]
                if share_of_few != 1 and some.any():
                    found[some] = between(copied[some], found[some], share_of_few)
                corrected[where] = found
        return corrected

    def _left_to_copying(self, evidence: Evidence) -> BoolArray:
        """(N,) uncertain sites that the model does not correct."""
        maf = _maf(evidence)
        left = np.zeros(len(maf), dtype=np.bool_)
        for low, high in self.left_to_copying:
            left |= (maf > low) & (maf <= high)
        return left

    def _probabilities(self, candidates: F32Array, sites: F32Array) -> F32Array:
        inputs = candidate_inputs(candidates)
        delta = self.network.correction(inputs, site_inputs(inputs, sites))
        eta = np.float32(self.network.eta)
        prior = np.clip(
            (1 - eta) * sites[:, DOSAGE_FEATURE] + eta * sites[:, FREQUENCY_FEATURE], _MIN_PRIOR, 1 - _MIN_PRIOR
        )
        probabilities: F32Array = 1 / (1 + (1 - prior) / prior * np.exp(np.clip(-delta, -_MAX_DELTA, _MAX_DELTA)))
        return probabilities


def between(copied: F32Array, corrected: F32Array, share: float) -> F32Array:
    """Probabilities whose log-odds lie by this share of the way from those of copying to the model's."""
    before, after = (np.clip(p, _MIN_PRIOR, 1 - _MIN_PRIOR) for p in (copied, corrected))
    odds = (before / (1 - before)) ** np.float32(1 - share) * (after / (1 - after)) ** np.float32(share)
    probabilities: F32Array = odds / (1 + odds)
    return probabilities


def _maf(evidence: Evidence) -> F32Array:
    frequency = evidence.sites[:, FREQUENCY_FEATURE]
    maf: F32Array = np.minimum(frequency, 1 - frequency)
    return maf


def _mix_in_strict(dosage: F32Array, evidence: Evidence, share: float) -> None:
    """Replaces the dosages of the rarest of these sites by a mean with those of the strict way to copy."""
    if share <= 0:
        return
    rare = _maf(evidence) <= _RARE
    strict = evidence.sites[rare, STRICT_FEATURE]
    where = evidence.query[rare], evidence.site[rare]
    dosage[where] += np.float32(share) * (strict - dosage[where])
