"""The similarity of two Gaussians in log space, with its explicit derivative.

These forms lose no digits where two Gaussians nearly agree, also if a factor of thousands magnifies the result. Kernels
with a mean and a variance for each feature need no such factor: `featurewise_terms.py` has their faster forms.

Here the means and variances of a Gaussian are stacked in the first dimension: `left_2R…[0]` is μ, `left_2R…[1]` is v.
`left` and `right` are broadcast against each other in all dimensions after the first two.

Shape suffixes: R values of one kernel's mean or variance (1 or D features); `2`, `3` stacked quantities; `…` any
further dimensions.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable


def log_rho(left_2R: Tensor, right_2R: Tensor, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """Log of the Bhattacharyya coefficient of pairs of Gaussians (docs/method.md, Contrastive loss).

    log ρ = -s Σ_r [½ log((v + v') / (2 √(v v'))) + ¼ (μ - μ')² / (v + v')]

    Args:
        left_2R: μ and v, (2, R, …).
        right_2R: μ' and v', (2, R, …).
        scale: s; D/R for the formula of docs/method.md.

    Returns:
        log ρ, (…); the differences (μ - μ', v - v'), stacked, (2, R, …); 1 / (v + v'), (R, …). The last two are what
        `slopes` needs.
    """
    variance, other_variance = left_2R[1], right_2R[1]
    difference_2R = left_2R - right_2R
    inverse_sum_R = (variance + other_variance).reciprocal_()
    mean_square_R, terms_R = difference_2R.square().unbind()
    # The quotient inside the logarithm is near 1 where two kernels nearly agree, and a logarithm near 1 loses digits,
    # which a scale of thousands of dimensions magnifies. (v + v')² = (v - v')² + 4 v v' turns the first term into
    # ¼ log1p((v - v')² / (4 v v')), which is exact there. The common factor ¼ is applied together with the scale.
    terms_R.mul_(0.25 / variance).div_(other_variance).log1p_().addcmul_(mean_square_R, inverse_sum_R)
    return (terms_R[0] if len(terms_R) == 1 else terms_R.sum(0)).mul_(-0.25 * scale), difference_2R, inverse_sum_R


def slopes(difference_2R: Tensor, inverse_sum_R: Tensor, grad: Tensor) -> Tensor:
    """The derivative of Σ grad · log ρ for each pair, as three quantities from which all four derivatives follow.

    With q = 1 / (v + v') the partial derivatives of log ρ are

        ∂/∂μ = -½ s q (μ - μ')        ∂/∂v  = -¼ s [q (v - v') / v  - q² (μ - μ')²]
        ∂/∂μ' = ½ s q (μ - μ')        ∂/∂v' =  ¼ s [q (v - v') / v' + q² (μ - μ')²]

    because the derivative of ½ log((v + v') / (2 √(v v'))) by v is ½ (q - 1 / (2 v)) = ¼ q (v - v') / v. Only the
    factors in front and the division by v or v' differ between the two Gaussians. The caller therefore sums over pairs
    first, and applies the factors and the division to the sums.

    Args:
        difference_2R: (μ - μ', v - v'), (2, R, …).
        inverse_sum_R: q, (R, …).
        grad: the derivative of a scalar by log ρ, (…).

    Returns:
        grad · q (μ - μ'), grad · q (v - v') and grad · q² (μ - μ')², stacked, (3, R, …): without the factors ½ s, ¼ s.
    """
    # q² (μ - μ')² · grad below is q (μ - μ') times the first result, q (μ - μ') · grad.
    slopes_3R = difference_2R.new_empty((3, *difference_2R.shape[1:]))
    # One multiplication forms the first two; `out` avoids copies into the stack.
    torch.mul(difference_2R, inverse_sum_R * grad, out=slopes_3R[:2])
    torch.mul(difference_2R[0] * inverse_sum_R, slopes_3R[0], out=slopes_3R[2])
    return slopes_3R


class PairLogRho(Function):
    """`log_rho` of Gaussians one by one (no broadcasting), as an autograd operation.

    Backward computes the differences again instead of keeping them.
    """

    @staticmethod
    def forward(ctx: Any, left_2R: Tensor, right_2R: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(left_2R, right_2R)
        ctx.scale = scale
        return log_rho(left_2R, right_2R, scale)[0]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        left_2R, right_2R = ctx.saved_tensors
        # The three results are grad · q (μ - μ'), grad · q (v - v') and grad · q² (μ - μ')², each (R, …).
        mean, relative, shared = slopes(*log_rho(left_2R, right_2R, ctx.scale)[1:], grad)
        # The factors of the formulas in `slopes`.
        half, quarter = 0.5 * ctx.scale, 0.25 * ctx.scale
        grad_left_2R = torch.stack((mean * -half, (relative / left_2R[1] - shared) * -quarter))
        grad_right_2R = torch.stack((mean * half, (relative / right_2R[1] + shared) * quarter))
        return grad_left_2R, grad_right_2R, None
