"""The asymmetric classification loss.

Shape suffixes: B batch, K classes.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

_SMALLEST_PROBABILITY = 1e-7
"""Probabilities are clamped here before the logarithm, as in the released code."""


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
    """The asymmetric loss, summed over samples and classes (docs/method.md, Asymmetric loss; arXiv 2009.14119).

    Args:
        logits_BK: z.
        positive_BK: bool, known positive elements.
        known_BK: bool, elements that count.
        gamma_positive: focusing exponent γ₊ of positive elements, at least 0.
        gamma_negative: focusing exponent γ₋ of negative elements, at least 0.
        clip: probability margin in [0, 1). A negative element with p below it adds nothing.
        detach_focusing: the focusing weights receive no gradient.

    Returns:
        0-dimensional, at least 0. Probabilities are clamped at 1e-7 before the logarithm.
    """
    total: Tensor = _AsymmetricLoss.apply(
        logits_BK, positive_BK, known_BK, gamma_positive, gamma_negative, clip, detach_focusing
    )
    return total


class _AsymmetricLoss(Function):
    """Σ -(1 - q)^γ log q with q = min(σ(±z) + margin, 1), and its derivative by z, formed together with the value.

    The sign is + for positive elements (margin 0, γ = γ₊) and - for negative ones (margin `clip`, γ = γ₋). With the
    chain rule over q:

        ∂/∂q = γ (1 - q)^(γ - 1) log q - (1 - q)^γ / q        (the second term alone if focusing is detached)
        ∂q/∂(±z) = σ(z) σ(-z) where q is not clamped, else 0

    The forward pass saves the finished derivative, one tensor instead of five intermediate ones.
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
        # σ(-z) equals 1 - σ(z), but keeps its digits where σ(z) is near 1.
        probability_BK = torch.where(positive_BK, logits_BK, -logits_BK).sigmoid_()
        # Unknown elements get weight 0. A product with 0 is enough because their logits are finite.
        known_BK = known_BK.to(logits_BK.dtype)
        # The margin belongs to negative elements only: σ(-z) + clip ≥ 1 makes an easy negative element exactly 0.
        raised_BK = torch.where(positive_BK, probability_BK, probability_BK + clip) if clip else probability_BK
        # The upper bound is the min(…, 1) of the formula. The lower bound keeps the logarithm finite.
        q_BK = raised_BK.clamp(_SMALLEST_PROBABILITY, 1.0)
        log_BK = q_BK.log()
        # For γ below 1 the derivative γ (1 - q)^(γ - 1) is infinite at q = 1, where the element is 0: hence the clamp.
        miss_BK = (1.0 - q_BK).clamp_(min=_SMALLEST_PROBABILITY)
        focus_BK = _power(miss_BK, positive_BK, gamma_positive, gamma_negative).mul_(known_BK)
        if ctx.needs_input_grad[0]:
            # The negative of ∂/∂q first, in parts: (1 - q)^γ / q, then γ (1 - q)^(γ - 1) log q.
            slope_BK = focus_BK / q_BK
            if not detach_focusing:
                growth_BK = torch.where(positive_BK, gamma_positive, gamma_negative) * focus_BK / miss_BK
                slope_BK.sub_(growth_BK * log_BK)
            # σ(z) σ(-z) = p - p² with p = σ(±z), then 0 where the clamp changed q.
            slope_BK.mul_(torch.addcmul(probability_BK, probability_BK, probability_BK, value=-1.0))
            slope_BK.mul_(q_BK == raised_BK)
            # By z instead of ±z, with the minus of the loss.
            ctx.save_for_backward(torch.where(positive_BK, -slope_BK, slope_BK))
        # The dot product is the sum of products, without a B x K tensor for them.
        return torch.dot(focus_BK.flatten(), log_BK.flatten()).neg_()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return ctx.saved_tensors[0] * grad, None, None, None, None, None, None


def _power(base_BK: Tensor, positive_BK: Tensor, gamma_positive: float, gamma_negative: float) -> Tensor:
    """base^γ with the exponent of each element; the second power is only computed where it is needed."""
    power_BK = base_BK**gamma_negative
    if gamma_positive == gamma_negative:
        return power_BK
    if gamma_positive == 0:
        # base^0 = 1: the released γ₊ is 0, so this is the usual case.
        return power_BK.masked_fill_(positive_BK, 1.0)
    return torch.where(positive_BK, base_BK**gamma_positive, power_BK)
