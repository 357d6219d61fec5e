"""Rates of copying in training: estimated on panel samples of the training split, as `impute` does on targets."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from vcfrag_core.copying.parameters import CopyingParameters, density, parameters_for
from vcfrag_core.imputation.cohort import EstimationConfig, drawn_samples, panel_targets
from vcfrag_core.imputation.imputer import Imputer
from vcfrag_core.imputation.rates import RateEstimate, estimate, left_out_of
from vcfrag_core.panel.genetic_map import GeneticMap
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.split import Split
from vcfrag_core.types import BoolArray


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MaskRates:
    """What one mask asks for.

    Attributes:
        mask: Its name.
        observed_per_cm: Its density.
        rates: The estimate.
    """

    mask: str
    observed_per_cm: float
    rates: RateEstimate


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRates:
    """Rates for masks of any density.

    Attributes:
        masks: Those that rates were estimated under, the sparsest first.
    """

    masks: tuple[MaskRates, ...]

    def parameters(self, observed_per_cm: float) -> CopyingParameters:
        """The rule's, under rates that move geometrically with the density between the masks, and stay beyond."""
        at = math.log(observed_per_cm)
        densities = [math.log(one.observed_per_cm) for one in self.masks]

        def between(rate: Callable[[RateEstimate], float]) -> float:
            return math.exp(float(np.interp(at, densities, [math.log(rate(one.rates)) for one in self.masks])))

        return dataclasses.replace(
            parameters_for(observed_per_cm),
            switch_per_cm=between(lambda rates: rates.switch_per_cm),
            mismatch=between(lambda rates: rates.mismatch),
        )

    def table(self) -> dict[str, Any]:
        """For provenance: the rates of every mask, to three digits, and from how much they were estimated."""
        return {
            one.mask: {
                "observed_per_cm": _rounded(one.observed_per_cm),
                "switch_per_cm": _rounded(one.rates.switch_per_cm),
                "mismatch": _rounded(one.rates.mismatch),
                "samples": len(one.rates.panel_samples),
                "sites": one.rates.n_sites,
                "seed": one.rates.seed,
            }
            for one in self.masks
        }

    def __str__(self) -> str:
        return "; ".join(f"mask {one.mask!r}: {one.rates}" for one in self.masks)


def estimate_training_rates(
    panel: Panel,
    genetic_map: GeneticMap,
    split: Split,
    masks: Mapping[str, BoolArray],
    *,
    threads: int = 1,
    config: EstimationConfig | None = None,
) -> TrainingRates:
    """Rates under some masks, for samples of the split's reference that copy from the rest of it.

    Samples that are held out are neither copied nor copied from, nor does anybody copy from its own group.

    Args:
        panel: Everybody.
        genetic_map: The map.
        split: That of training.
        masks: (V,) observed sites by name.
        threads: Of search and copying.
        config: From how much.
    """
    config = config or EstimationConfig()
    reference = panel.select_samples(split.reference)
    imputer = Imputer(reference, genetic_map, groups=split.groups, threads=threads)
    chosen = [reference.samples[i] for i in drawn_samples(reference.samples, config.min_samples, config.seed).tolist()]
    found = [
        MaskRates(
            mask=name,
            observed_per_cm=density(observed, imputer.cm),
            rates=_under_mask(imputer, chosen, observed, config),
        )
        for name, observed in masks.items()
    ]
    return TrainingRates(masks=tuple(sorted(found, key=lambda one: one.observed_per_cm)))


def _under_mask(
    imputer: Imputer, samples: Sequence[str], observed: BoolArray, config: EstimationConfig
) -> RateEstimate:
    return estimate(imputer, left_out_of(panel_targets(imputer.panel, samples, observed), imputer.cm), 0, config)


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")
