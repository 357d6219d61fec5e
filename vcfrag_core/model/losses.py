"""Losses over the hidden alleles of a window."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def cross_entropy(logits: Tensor, truth: Tensor, hidden: Tensor) -> Tensor:
    """Mean cross-entropy in nats over the hidden sites; 0 where none is hidden.

    Args:
        logits: (Q, L) log-odds of ALT.
        truth: (Q, L) alleles, 0 or 1.
        hidden: (L,) bool.
    """
    return _mean(functional.binary_cross_entropy_with_logits(logits, truth.to(logits.dtype), reduction="none"), hidden)


def focal(logits: Tensor, truth: Tensor, hidden: Tensor, *, gamma: float) -> Tensor:
    """Mean focal loss over the hidden sites (Lin et al., ICCV 2017, equation 4, alpha = 1).

    It is not a proper score: probabilities trained with it ask for recalibration.

    Args:
        logits, truth, hidden: As for `cross_entropy`.
        gamma: Exponent of the factor that quiets easy alleles; 0 is cross-entropy.
    """
    target = truth.to(logits.dtype)
    loss = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    wrong = torch.where(target > 0.5, -logits, logits).sigmoid()
    return _mean(wrong.pow(gamma) * loss, hidden)


def _mean(loss: Tensor, hidden: Tensor) -> Tensor:
    count = hidden.sum() * loss.shape[0]
    return (loss * hidden).sum() / count.clamp(min=1)
