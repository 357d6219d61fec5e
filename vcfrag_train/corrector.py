"""A trained model at work in imputation: corrects the dosages of copying at the uncertain sites."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch

from vcfrag_core.features import DOSAGE_FEATURE, FREQUENCY_FEATURE, Evidence
from vcfrag_core.model import ImputationModel
from vcfrag_core.types import F32Array, F64Array

# A call of the model sees so many sites of one query, padded to the next power of two where there are fewer: the shape
# of matrix products depends on the query alone, and so its answer does not depend on its company.
SITES_PER_CALL = 256


class Corrector:
    """Applies a model to evidence, query by query.

    Args:
        model: The trained model; put into evaluation mode.
        name: What it is, for records: its digest and run.
        left_to_copying: MAF bins (low, high] whose sites keep the dosage of copying.
    """

    def __init__(
        self, model: ImputationModel, name: str, *, left_to_copying: Sequence[tuple[float, float]] = ()
    ) -> None:
        self.model = model.eval()
        self.name = name + "".join(f" copying_at_maf={low:g}-{high:g}" for low, high in left_to_copying)
        self.left_to_copying = tuple(left_to_copying)
        self.n_candidates = model.config.candidates
        self.learned_copying = model.config.learn_copying
        self.switch_factor = float(model.log_switch_factor.detach().exp())

    def site_weights(self, frequency: F64Array) -> F32Array:
        """(V,) emission weights that the model learned for (V,) reference frequencies."""
        with torch.inference_mode():
            weights: F32Array = self.model.site_weights(torch.from_numpy(frequency.astype(np.float32))).numpy()
        return weights

    def correct(self, evidence: Evidence) -> F32Array:
        """(Q, L) dosages: those of copying, corrected at the uncertain sites. Call it within `torch_threads(1)`."""
        corrected = evidence.dosage.copy()
        evidence = self._to_correct(evidence)
        borders = np.searchsorted(evidence.query, np.arange(len(corrected) + 1))
        for start, stop in zip(borders[:-1], borders[1:], strict=True):
            for first in range(int(start), int(stop), SITES_PER_CALL):
                part = slice(first, min(first + SITES_PER_CALL, int(stop)))
                corrected[evidence.query[part], evidence.site[part]] = self._probabilities(
                    evidence.candidates[part], evidence.sites[part]
                )
        return corrected

    def _to_correct(self, evidence: Evidence) -> Evidence:
        frequency = evidence.sites[:, FREQUENCY_FEATURE]
        maf = np.minimum(frequency, 1 - frequency)
        keep = np.ones(len(maf), dtype=np.bool_)
        for low, high in self.left_to_copying:
            keep &= ~((maf > low) & (maf <= high))
        if keep.all():
            return evidence
        return dataclasses.replace(
            evidence,
            query=evidence.query[keep],
            site=evidence.site[keep],
            candidates=evidence.candidates[keep],
            sites=evidence.sites[keep],
        )

    def _probabilities(self, candidates: F32Array, sites: F32Array) -> F32Array:
        n = len(candidates)
        padding = (1 << (n - 1).bit_length()) - n
        with torch.inference_mode():
            padded = torch.from_numpy(np.pad(candidates, ((0, padding), (0, 0), (0, 0))))
            padded_sites = torch.from_numpy(np.pad(sites, ((0, padding), (0, 0))))
            delta = self.model.correction(padded, padded_sites)[:n]
            base = self.model.prior(
                torch.from_numpy(sites[:, DOSAGE_FEATURE]), torch.from_numpy(sites[:, FREQUENCY_FEATURE])
            )
            probabilities: F32Array = (base + delta).sigmoid().numpy()
        return probabilities
