"""The allele embedding, whose squared distance between the two alleles of a site is the retrieval metric.

    e_i(a) = base_i + s(a) · ½ √w_i · u,     s = -1 for REF, +1 for ALT, 0 for a missing call,   |u| = 1,

with base_i from the site's place in the window and its reference frequency f_i. Hence ‖e_i(1) - e_i(0)‖² = w_i and a
missing call lies at the midpoint. Additive: w is one number. Gated: w_i = w(f_i), so that the metric is learned.
Nothing is tied to a site's identity.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from vcfrag_core.model.config import EmbeddingConfig

MAX_WEIGHT = 14.0
# Keeps √w away from 0, where its slope is infinite; w is then 1e-7.
_MIN_LOGIT = -16.0
# Beyond this w is 14 to the last digit; without it the difference of two large numbers would lose all of them.
_LARGEST_LOGIT = MAX_WEIGHT + 16.0
# About one haplotype among those of the largest panels.
_FREQUENCY_OFFSET = 1e-4
_N_FEATURES = 4
_LONGEST_WAVE = 10_000.0


class AlleleEmbedding(nn.Module):
    """Alleles of a window as vectors, and the metric that they imply.

    Args:
        config: Its shape.
    """

    def __init__(self, config: EmbeddingConfig) -> None:
        super().__init__()
        self.config = config
        self.centre = nn.Parameter(torch.randn(config.width) * 0.02)
        self.direction = nn.Parameter(torch.randn(config.width) / math.sqrt(config.width))
        self.frequency = nn.Linear(_N_FEATURES, config.width)
        self.level = nn.Parameter(torch.tensor(logit_of(config.initial_weight)))
        self.gate = self._make_gate() if config.gated else None

    def forward(self, alleles: Tensor, frequency: Tensor) -> Tensor:
        """Embeds a window.

        Args:
            alleles: (B, V) integers: 0 REF, 1 ALT, -1 missing, which lies midway between the two.
            frequency: (V,) share of ALT among the split's reference haplotypes.

        Returns:
            (B, V, D) embeddings.
        """
        features = frequency_features(frequency.to(self.level.dtype))
        base: Tensor = self.centre + self.frequency(features) + _waves(len(frequency), self.config.width, features)
        half_step = 0.5 * self._weights(features).sqrt()[:, None] * functional.normalize(self.direction, dim=0)
        sign = torch.where(alleles < 0, 0, 2 * alleles - 1).to(half_step.dtype)
        return base + sign[:, :, None] * half_step

    def weights(self, frequency: Tensor) -> Tensor:
        """(V,) squared distance between the two alleles of each site, in (0, 14), from (V,) reference frequencies.

        A smooth function of the frequency alone, differentiable in the parameters. `site_weights.quantise` makes it a
        metric for retrieval.
        """
        return self._weights(frequency_features(frequency.to(self.level.dtype)))

    def _weights(self, features: Tensor) -> Tensor:
        # In full precision even under autocast: half precision would round a metric to a few distinct values.
        with torch.autocast(features.device.type, enabled=False):
            logit = self.level.expand(len(features))
            if self.gate is not None:
                logit = logit + self.gate(features)[:, 0]
            return bounded(logit)

    def _make_gate(self) -> nn.Sequential:
        last = nn.Linear(self.config.gate_width, 1, bias=False)
        # Zero, so that every site starts at the same weight.
        nn.init.zeros_(last.weight)
        return nn.Sequential(nn.Linear(_N_FEATURES, self.config.gate_width), nn.SiLU(), last)


def frequency_features(frequency: Tensor) -> Tensor:
    """(V, 4) smooth functions of (V,) ALT frequencies, each about in [-1, 1]: f, f(1 - f), their log odds and log."""
    f, alt, ref = frequency, frequency + _FREQUENCY_OFFSET, 1 - frequency + _FREQUENCY_OFFSET
    scale = -math.log(_FREQUENCY_OFFSET)
    rarity = (alt * ref).log() / scale
    return torch.stack([2 * f - 1, 4 * f * (1 - f), (alt / ref).log() / scale, rarity], dim=-1)


def bounded(logit: Tensor) -> Tensor:
    """softplus(z) - softplus(z - 14): smooth, rising from 0 to 14 and close to z in between."""
    z = logit.clamp(_MIN_LOGIT, _LARGEST_LOGIT)
    return functional.softplus(z) - functional.softplus(z - MAX_WEIGHT)


def logit_of(weight: float) -> float:
    """The z at which `bounded` is `weight`, in (0, 14)."""
    return math.log(math.expm1(weight)) - math.log(-math.expm1(weight - MAX_WEIGHT))


def _waves(n: int, width: int, like: Tensor) -> Tensor:
    """(n, width) sines and cosines of the place in the window (Vaswani et al., 2017, section 3.5)."""
    rate = torch.exp(torch.arange(0, width, 2, device=like.device) * (-math.log(_LONGEST_WAVE) / width))
    angle = torch.arange(n, device=like.device)[:, None] * rate
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1).to(like.dtype)
