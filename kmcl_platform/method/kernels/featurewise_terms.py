"""The terms of log ρ of two Gaussians with a mean and a variance for each feature, and their derivative.

With q = 1 / (v + v') and e = q (μ - μ'),

    -log ρ / s = Σ_r [½ log((v + v') / √(2v 2v')) + ¼ e (μ - μ')]
    ∂/∂μ = ½ e        ∂/∂μ' = -½ e        ∂/∂v = ½ [q - ½ e² - 1 / (2 v)], and the same for v'

The last term is the same for all pairs of a kernel but for their gradients, whose sum is enough.

Shape suffixes: B batch, K classes, C kernels per class, R values of one kernel's mean or variance; small r: the R
values of one block; G groups of R values; S pairs c < c' of a class's kernels; `…` any further dimensions.
"""

from itertools import combinations
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

from kmcl_platform.method.kernels.rows import block_limit

GROUP = 4
"""Terms whose product has one logarithm. A product of 4 sums of variances is finite up to variances of 10⁹."""


class FeaturewiseKernels:
    """The kernels of a batch, with the samples as the last dimension: elementwise operations read long rows.

    Attributes:
        values_2RKCB: μ and v. R is padded to a multiple of `GROUP`.
        inverse_GKCB: what a kernel has under the logarithms of its groups: the product of 1 / √(2v).
    """

    def __init__(self, means_BKCR: Tensor, variances_BKCR: Tensor) -> None:
        self._num_values = means_BKCR.shape[3]
        # A padded term has the mean 0 and the variance 1 in all samples: its log ρ is 0.
        padding = (0, -self._num_values % GROUP)
        parts = (functional.pad(means_BKCR, padding), functional.pad(variances_BKCR, padding, value=1.0))
        batch_size, *shape, num_values = parts[0].shape
        self.values_2RKCB = means_BKCR.new_empty((2, num_values, *shape, batch_size))
        for own_RKCB, part in zip(self.values_2RKCB, parts, strict=True):
            own_RKCB.copy_(_transpose(part.flatten(1)).view(*shape, num_values, batch_size).permute(2, 0, 1, 3))
        first, *others = self.values_2RKCB[1].unflatten(0, (-1, GROUP)).unbind(1)
        product = first * 2.0**GROUP
        for other in others:
            product *= other
        self.inverse_GKCB = product.rsqrt_()

    def gradients(self, sums_2RKCB: Tensor, grads_KCB: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        """The gradients of means_BKCR and variances_BKCR.

        Args:
            sums_2RKCB: for each kernel, the sums over its pairs of the two results of `pair_slopes`, the first one with
                the sign of μ' - μ. They are overwritten.
            grads_KCB: the sum of the gradients of its pairs.
            scale: s.
        """
        means, variances = sums_2RKCB.unbind()
        variances.addcdiv_(grads_KCB.expand_as(variances), self.values_2RKCB[1], value=-0.5).mul_(-0.5 * scale)
        shape = (*self.values_2RKCB.shape[2:4], self._num_values)
        samples_first = [
            _transpose(part[: self._num_values].permute(1, 2, 0, 3).flatten(0, 2)).unflatten(1, shape)
            for part in (means.mul_(0.5 * scale), variances)
        ]
        return samples_first[0], samples_first[1]


def _transpose(matrix: Tensor) -> Tensor:
    """The transposed matrix, as a tensor of its own.

    PyTorch copies it block by block: three times as fast as a copy of more dimensions in another order.
    """
    return matrix.t().contiguous()


def pair_terms(
    left_2R: Tensor, right_2R: Tensor, left_inverse_G: Tensor, right_inverse_G: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """-log ρ / s of pairs, summed over the R values of a block.

    Args:
        left_2R: μ and v, (2, r, …); broadcast against `right_2R`.
        right_2R: μ' and v', (2, r, …).
        left_inverse_G: of the first, as in `FeaturewiseKernels`.
        right_inverse_G: of the second.

    Returns:
        The sum, (…); q and e, (r, …).
    """
    variance_sum, difference = left_2R[1] + right_2R[1], left_2R[0] - right_2R[0]
    first, *others = variance_sum.unflatten(0, (-1, GROUP)).unbind(1)
    product = first * others[0]
    for other in others[1:]:
        product.mul_(other)
    # Each quotient is near 1 where two kernels nearly agree, so the logarithm of a large product loses no digits.
    total = product.mul_(left_inverse_G).mul_(right_inverse_G).log_().sum(0).mul_(0.5)
    inverse = variance_sum.reciprocal_()
    slope = difference * inverse
    return total.add_(difference.mul_(slope).sum(0), alpha=0.25), inverse, slope


def pair_slopes(inverse: Tensor, slope: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    """e and q - ½ e² of pairs, (r, …), each times the gradient, (…). Both arguments are overwritten."""
    curve = inverse.addcmul_(slope, slope, value=-0.5).mul_(grad)
    return slope.mul_(grad), curve


class ComponentLogRho(Function):
    """log_rho_SKB of the pairs c < c' of the kernels of each class and sample, in the order of `combinations`."""

    @staticmethod
    def forward(ctx: Any, means_BKCR: Tensor, variances_BKCR: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(means_BKCR, variances_BKCR)
        ctx.scale = scale
        kernels = FeaturewiseKernels(means_BKCR, variances_BKCR)
        values, inverse = kernels.values_2RKCB, kernels.inverse_GKCB
        pairs = list(combinations(range(means_BKCR.shape[2]), 2))
        total_SKB = means_BKCR.new_zeros((len(pairs), *values.shape[2:3], values.shape[4]))
        for block in _blocks(values):
            part, groups = values[:, block], inverse[block.start // GROUP : block.stop // GROUP]
            for s, (c, d) in enumerate(pairs):
                total_SKB[s] += pair_terms(part[..., c, :], part[..., d, :], groups[..., c, :], groups[..., d, :])[0]
        return total_SKB.mul_(-scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_SKB: Tensor) -> tuple[Tensor | None, ...]:
        kernels = FeaturewiseKernels(*ctx.saved_tensors)
        values = kernels.values_2RKCB
        sums, grads_KCB = torch.zeros_like(values), torch.zeros_like(values[0, 0])
        for s, (c, d) in enumerate(combinations(range(values.shape[3]), 2)):
            for end in (c, d):
                grads_KCB[:, end] += grad_SKB[s]
            for block in _blocks(values):
                left, right = values[:, block, :, c], values[:, block, :, d]
                inverse = (left[1] + right[1]).reciprocal_()
                slope, curve = pair_slopes(inverse, (left[0] - right[0]).mul_(inverse), grad_SKB[s])
                sums[0, block, :, c] -= slope
                sums[0, block, :, d] += slope
                for end in (c, d):
                    sums[1, block, :, end] += curve
        return (*kernels.gradients(sums, grads_KCB, ctx.scale), None)


def _blocks(values_2RKCB: Tensor) -> list[slice]:
    per_value = max(1, values_2RKCB.shape[2] * values_2RKCB.shape[4])
    size = max(1, block_limit(values_2RKCB.device) // (per_value * GROUP)) * GROUP
    return [slice(start, start + size) for start in range(0, values_2RKCB.shape[1], size)]
