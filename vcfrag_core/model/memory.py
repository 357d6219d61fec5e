"""How much memory a training step of the network takes, said before it is taken."""

from __future__ import annotations

from vcfrag_core.model.config import ModelConfig

# What a block keeps of every token for the backward pass, in numbers of its width: what comes in, both norms, query,
# key, value, what attention gives and what is made of it; and, twice for every hidden unit, the MLP's.
_KEPT, _KEPT_OF_MLP = 9, 2
# In half precision norms and what passes by them stay in float32, with copies in half precision.
_HALF_BYTES, _HALF_BYTES_OF_MLP = 30, 4
_DROPOUT_BYTES = 15


def bytes_per_site(config: ModelConfig, *, half: bool) -> int:
    """Activations that one uncertain site keeps for the backward pass, at most.

    Args:
        config: The network.
        half: Whether the network computes in half precision.
    """
    each = 4 * (_KEPT + _KEPT_OF_MLP * config.expansion)
    if half:
        each = _HALF_BYTES + _HALF_BYTES_OF_MLP * config.expansion
    if config.dropout:
        each += _DROPOUT_BYTES
    return each * max(config.layers, 1) * (config.candidates + 1) * config.width


def sites_at_once(config: ModelConfig, free_bytes: int, *, half: bool) -> int:
    """Uncertain sites whose activations fit into so many bytes beside weights, gradients and optimiser; at least 1."""
    d, hidden = config.width, config.expansion * config.width
    weights = config.layers * (4 * d * d + 2 * d * hidden)
    # Weight, gradient, two moments, a copy in half precision and what a fused step needs beside them.
    fixed = 4 * weights * 6
    return max(1, int((free_bytes - fixed) // bytes_per_site(config, half=half)))
