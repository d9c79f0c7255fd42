"""The classification losses: asymmetric, and plain binary cross-entropy as a baseline.

Shape suffixes: B batch, K classes.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

_SMALLEST_PROBABILITY = 1e-7


def asymmetric_loss(
    logits_BK: Tensor,
    positive_BK: Tensor,
    known_BK: Tensor,
    *,
    gamma_positive: float,
    gamma_negative: float,
    clip: float,
    detach_focusing: bool,
) -> Tensor:
    """Asymmetric loss, summed over samples and classes (METHOD.md, loss 1; ASL, arXiv 2009.14119).

    Args:
        logits_BK: z.
        positive_BK: bool, known positive elements.
        known_BK: bool, elements that count.
        gamma_positive: focusing exponent of positive elements, at least 0.
        gamma_negative: focusing exponent of negative elements, at least 0.
        clip: probability margin that discards easy negatives, in [0, 1).
        detach_focusing: take the focusing weights without gradient.

    Returns:
        0-dimensional, at least 0; logarithms are taken of probabilities clamped at 1e-7.
    """
    total: Tensor = _AsymmetricLoss.apply(
        logits_BK, positive_BK, known_BK, gamma_positive, gamma_negative, clip, detach_focusing
    )
    return total


class _AsymmetricLoss(Function):
    """Σ -(1 - q)^γ log q with q = min(σ(±z) + margin, 1), and its derivative by z, formed with the value.

    ∂/∂q = γ (1 - q)^(γ - 1) log q - (1 - q)^γ / q, of which detached focusing weights leave the second term; ∂q/∂(±z) =
    σ(z) σ(-z) where q is not clamped.
    """

    @staticmethod
    def forward(
        ctx: Any,
        logits_BK: Tensor,
        positive_BK: Tensor,
        known_BK: Tensor,
        gamma_positive: float,
        gamma_negative: float,
        clip: float,
        detach_focusing: bool,
    ) -> Tensor:
        # σ(-z) is 1 - p without the rounding of 1 - p near p = 1.
        probability_BK = torch.where(positive_BK, logits_BK, -logits_BK).sigmoid_()
        # Zero for elements that are unknown: they are multiplied by it, and their logits are finite.
        known_BK = known_BK.to(logits_BK.dtype)
        raised_BK = torch.where(positive_BK, probability_BK, probability_BK + clip) if clip else probability_BK
        q_BK = raised_BK.clamp(_SMALLEST_PROBABILITY, 1.0)
        log_BK = q_BK.log()
        # The clamp keeps the derivative of a power below 1 finite where the element itself vanishes.
        miss_BK = (1.0 - q_BK).clamp_(min=_SMALLEST_PROBABILITY)
        focus_BK = _power(miss_BK, positive_BK, gamma_positive, gamma_negative).mul_(known_BK)
        if ctx.needs_input_grad[0]:
            slope_BK = focus_BK / q_BK
            if not detach_focusing:
                growth_BK = torch.where(positive_BK, gamma_positive, gamma_negative) * focus_BK / miss_BK
                slope_BK.sub_(growth_BK * log_BK)
            slope_BK.mul_(torch.addcmul(probability_BK, probability_BK, probability_BK, value=-1.0))
            slope_BK.mul_(q_BK == raised_BK)
            ctx.save_for_backward(torch.where(positive_BK, -slope_BK, slope_BK))
        return torch.dot(focus_BK.flatten(), log_BK.flatten()).neg_()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return ctx.saved_tensors[0] * grad, None, None, None, None, None, None


def _power(base_BK: Tensor, positive_BK: Tensor, gamma_positive: float, gamma_negative: float) -> Tensor:
    power_BK = base_BK**gamma_negative
    if gamma_positive == gamma_negative:
        return power_BK
    if gamma_positive == 0:
        return power_BK.masked_fill_(positive_BK, 1.0)
    return torch.where(positive_BK, base_BK**gamma_positive, power_BK)


def binary_cross_entropy(logits_BK: Tensor, positive_BK: Tensor, known_BK: Tensor) -> Tensor:
    """Plain binary cross-entropy of the logits, summed over samples and classes.

    Args:
        logits_BK: z.
        positive_BK: bool, known positive elements.
        known_BK: bool, elements that count.

    Returns:
        0-dimensional, at least 0; exact for any finite logit (no clamp).
    """
    target_BK = positive_BK.to(logits_BK.dtype)
    weight_BK = known_BK.to(logits_BK.dtype)
    return functional.binary_cross_entropy_with_logits(logits_BK, target_BK, weight_BK, reduction="sum")
