"""Shape of the model and of its embedding: what a checkpoint says of itself, without torch."""

from __future__ import annotations

import dataclasses
import math

from vcfrag_core.errors import ConfigError

DEFAULT_MISMATCH = 1e-3


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingConfig:
    """Shape of the allele embedding.

    Attributes:
        width: D, even.
        gated: Whether the metric depends on the reference frequency.
        gate_width: Hidden units of the gate.
        mismatch: μ, the mismatch probability whose log odds all weights start at.
    """

    width: int = 64
    gated: bool = True
    gate_width: int = 16
    mismatch: float = DEFAULT_MISMATCH

    def __post_init__(self) -> None:
        if self.width < 2 or self.width % 2 or self.gate_width < 1:
            raise ConfigError(f"width must be even and >= 2, gate_width >= 1, got {self.width} and {self.gate_width}")
        if not 1e-5 <= self.mismatch < 0.5:
            raise ConfigError(f"mismatch must be in [1e-5, 0.5), got {self.mismatch}")

    @property
    def initial_weight(self) -> float:
        """log((1 - μ) / μ)."""
        return math.log((1 - self.mismatch) / self.mismatch)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Shape of the model.

    Attributes:
        width: D.
        layers: Transformer blocks.
        heads: Attention heads; divides the width.
        expansion: Hidden units of a block's MLP, in widths.
        candidates: T, candidates shown at every site.
        dropout: Share of activations dropped in training.
        learn_copying: Whether the loss also trains the emission weights and the switch rate of copying.
        embedding: The allele embedding, which gives emission weights and retrieval metric.
    """

    width: int = 48
    layers: int = 1
    heads: int = 4
    expansion: int = 2
    candidates: int = 16
    dropout: float = 0.0
    learn_copying: bool = False
    embedding: EmbeddingConfig = dataclasses.field(default_factory=EmbeddingConfig)

    def __post_init__(self) -> None:
        if self.width < 1 or self.heads < 1 or self.width % self.heads:
            raise ConfigError(f"width must be a multiple of heads, got {self.width} and {self.heads}")
        if self.layers < 0 or self.expansion < 1 or self.candidates < 1:
            raise ConfigError(
                f"layers must be >= 0, expansion and candidates >= 1, "
                f"got {self.layers}, {self.expansion} and {self.candidates}"
            )
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout must lie in [0, 1), got {self.dropout}")
