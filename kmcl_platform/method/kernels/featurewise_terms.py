"""The terms of log ρ of two Gaussians with a mean and a variance for each feature, and their derivative.

With q = 1 / (v + v') and e = q (μ - μ'),

    -log ρ / s = Σ_r [½ log((v + v') / √(2v 2v')) + ¼ e (μ - μ')]
    ∂/∂μ = ½ e        ∂/∂μ' = -½ e        ∂/∂v = ½ [q - ½ e² - 1 / (2 v)], and the same for v'

The last term is the same for all pairs of a kernel but for their gradients, whose sum is enough.

Shape suffixes: B batch, K classes, C kernels per class, R values of a kernel's mean or variance; G groups of R values;
S pairs c < c' of a class's kernels; `…` any further dimensions.
"""

from itertools import combinations
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

from kmcl_platform.method.kernels.rows import block_limit

GROUP = 4
"""Terms whose product has one logarithm. A product of 4 sums of variances is finite up to variances of 10⁹."""

BLOCK_ELEMENTS = 2**19
"""As in `rows.py`. Half as many are slower, twice as many no faster (batches of 64 to 512, 1 and 3 kernels)."""


class Gaussians(NamedTuple):
    """Kernels with a mean and a variance for each feature.

    Attributes:
        means_R: μ, (…, R). R is a multiple of `GROUP`.
        variances_R: v, (…, R).
        inverse_G: what a kernel has under the logarithms of its groups: the product of 1 / √(2v), (…, G).
    """

    means_R: Tensor
    variances_R: Tensor
    inverse_G: Tensor

    def part(self, block: slice) -> "Gaussians":
        """A block of the first dimension."""
        return Gaussians(*(part[block] for part in self))


def group_values(means_R: Tensor, variances_R: Tensor) -> Gaussians:
    """The kernels with these means and variances, (…, R), padded where R is not a multiple of `GROUP`."""
    # A padded term has the mean 0 and the variance 1 in all samples: its log ρ is 0.
    padding = -means_R.shape[-1] % GROUP
    if padding:
        means_R = functional.pad(means_R, (0, padding))
        variances_R = functional.pad(variances_R, (0, padding), value=1.0)
    return Gaussians(means_R, variances_R, _products(variances_R).mul_(2.0**GROUP).rsqrt_())


def _products(values_R: Tensor) -> Tensor:
    """The products of `GROUP` values each, (…, G). The members of a group are R / `GROUP` places apart: long rows."""
    first, *others = values_R.chunk(GROUP, -1)
    product = first * others[0]
    for other in others[1:]:
        product.mul_(other)
    return product


def pair_terms(left: Gaussians, right: Gaussians) -> Tensor:
    """-log ρ / s of pairs, (…); the dimensions before R are broadcast."""
    variance_sum, difference = left.variances_R + right.variances_R, left.means_R - right.means_R
    # Each quotient is near 1 where two kernels nearly agree, so the logarithm of a large product loses no digits.
    quotients_G = _products(variance_sum).mul_(left.inverse_G).mul_(right.inverse_G)
    total = quotients_G.log_().sum(-1).mul_(0.5)
    return total.add_(difference.mul_(difference).div_(variance_sum).sum(-1), alpha=0.25)


def pair_slopes(left: Gaussians, right: Gaussians, grad: Tensor) -> tuple[Tensor, Tensor]:
    """e and q - ½ e² of pairs, (…, R), each times the gradient, (…)."""
    grad_1 = grad.unsqueeze(-1)
    inverse = (left.variances_R + right.variances_R).reciprocal_()
    slope = (left.means_R - right.means_R).mul_(inverse)
    curve = inverse.addcmul_(slope, slope, value=-0.5).mul_(grad_1)
    return slope.mul_(grad_1), curve


def finish_gradients(
    slopes_R: Tensor, curves_R: Tensor, grads: Tensor, variances_R: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    """The gradients of means and variances, (…, R), without the derivatives of padded terms.

    Args:
        slopes_R: for each kernel, the sum over its pairs of the first result of `pair_slopes`, with the sign of μ' - μ;
            overwritten.
        curves_R: the same of the second result; overwritten.
        grads: the sum of the gradients of its pairs, (…).
        variances_R: v, without padding.
        scale: s.
    """
    num_values = variances_R.shape[-1]
    curves_R = curves_R[..., :num_values].addcdiv_(grads.unsqueeze(-1).expand_as(variances_R), variances_R, value=-0.5)
    return slopes_R[..., :num_values].mul_(0.5 * scale), curves_R.mul_(-0.5 * scale)


class ComponentLogRho(Function):
    """log_rho_SKB of the pairs c < c' of the kernels of each class and sample, in the order of `combinations`."""

    @staticmethod
    def forward(ctx: Any, means_BKCR: Tensor, variances_BKCR: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(means_BKCR, variances_BKCR)
        ctx.scale = scale
        batch_size, num_classes, num_components, _ = means_BKCR.shape
        pairs = list(combinations(range(num_components), 2))
        total_SKB = means_BKCR.new_empty((len(pairs), num_classes, batch_size))
        for block in _blocks(means_BKCR):
            components = _components(means_BKCR[block], variances_BKCR[block])
            for s, (c, d) in enumerate(pairs):
                total_SKB[s, :, block] = pair_terms(components[c], components[d]).T
        return total_SKB.mul_(-scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_SKB: Tensor) -> tuple[Tensor | None, ...]:
        means_BKCR, variances_BKCR = ctx.saved_tensors
        grads_BKC = means_BKCR.new_zeros(means_BKCR.shape[:3])
        found = torch.empty_like(means_BKCR), torch.empty_like(variances_BKCR)
        pairs = list(combinations(range(means_BKCR.shape[2]), 2))
        for s, (c, d) in enumerate(pairs):
            for end in (c, d):
                grads_BKC[:, :, end] += grad_SKB[s].T
        for block in _blocks(means_BKCR):
            components = _components(means_BKCR[block], variances_BKCR[block])
            sums = [torch.zeros_like(components[0].means_R) for _ in range(2 * len(components))]
            slopes, curves = sums[::2], sums[1::2]
            for s, (c, d) in enumerate(pairs):
                slope, curve = pair_slopes(components[c], components[d], grad_SKB[s, :, block].T)
                slopes[c] -= slope
                slopes[d] += slope
                for end in (c, d):
                    curves[end] += curve
            parts = finish_gradients(
                torch.stack(slopes, 2), torch.stack(curves, 2), grads_BKC[block], variances_BKCR[block], ctx.scale
            )
            for gradient, part in zip(found, parts, strict=True):
                gradient[block] = part
        return (*found, None)


def _components(means_bKCR: Tensor, variances_bKCR: Tensor) -> list[Gaussians]:
    """The C kernels of each class, each (b, K, R)."""
    kernels = group_values(means_bKCR, variances_bKCR)
    return [Gaussians(*parts) for parts in zip(*(part.unbind(2) for part in kernels), strict=True)]


def _blocks(means_BKCR: Tensor) -> list[slice]:
    """Samples to process together."""
    size = max(1, block_limit(means_BKCR.device, BLOCK_ELEMENTS) // means_BKCR[0, :, 0].numel())
    return [slice(start, start + size) for start in range(0, len(means_BKCR), size)]
