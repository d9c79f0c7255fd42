"""Similarities between the mixtures of different samples, in log space.

They carry their own derivatives: written as a chain of small operations they would keep, and launch, many times what
the formula needs.

Shape suffixes: B batch, K classes, C kernels per class, R values of one kernel's mean or variance (1 or D),
P rows (n, k) with a positive label.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from kmcl_platform.method.kernels.mixture_head import KernelMixture

_BLOCK_ELEMENTS = 2**18
"""Elements of a pairwise quantity that are held at once on a CPU, whose cache they fit."""

_BLOCK_ELEMENTS_ON_ACCELERATORS = 2**26

_LOG_2 = math.log(2.0)


class Rows(NamedTuple):
    """Labels (n, k) whose similarities to all samples are wanted.

    Attributes:
        sample_P: n of each row.
        class_P: k of each row.
    """

    sample_P: Tensor
    class_P: Tensor


class MixtureSimilarity:
    """Log similarity log ρ_k(n, j) of rows (n, k) to all samples j (METHOD.md, Contrastive), and its derivative.

    C = 1: the Bhattacharyya coefficient of class k's Gaussians in samples n and j. C > 1: the cosine of the two
    mixtures in the RKHS where components have that coefficient as inner product. Costs O(P·B·C²·R); of the R values of
    anisotropic kernels no more than a block's worth is held at once.

    The derivative is explicit rather than autograd's, so that rows can be taken a few at a time: after `log_similarity`
    of some rows, `add_gradient` of the same rows adds to what `gradients` returns.

    Args:
        means_BKCR: μ.
        variances_BKCR: v.
        log_weights_BKC: log α.
        log_norms_KB: as `log_norms` gives them; none for C = 1, where they are 0.
        dimension_scale: factor of the sum over the R values of a kernel: D/R is the method's own.
    """

    def __init__(
        self,
        means_BKCR: Tensor,
        variances_BKCR: Tensor,
        log_weights_BKC: Tensor,
        log_norms_KB: Tensor | None,
        dimension_scale: float,
    ) -> None:
        # Samples come last: elementwise work and the sums over C and R then run along long contiguous rows.
        self._kernels_2RCKB = torch.stack((means_BKCR.permute(3, 2, 1, 0), variances_BKCR.permute(3, 2, 1, 0)))
        self._log_weights_CKB = None if log_norms_KB is None else log_weights_BKC.permute(2, 1, 0).contiguous()
        self._log_norms_KB = log_norms_KB
        self._scale = dimension_scale
        self._blocks: list[slice] = []
        self._kept: tuple[Tensor, ...] = ()
        self._shares_CCPB: Tensor | None = None
        # Sums of `_slopes` at each kernel; and the gradients by log weights and norms.
        self._slopes_3RCKB: Tensor | None = None
        self._grad_weights_CKB: Tensor | None = None
        self._grad_norms_KB: Tensor | None = None

    def rows_per_block(self, batch_size: int) -> int:
        """How many rows to take at once: as many as leave room for one of a kernel's R values at least."""
        return max(1, _limit(self._kernels_2RCKB.device) // (batch_size * self._kernels_2RCKB.shape[2] ** 2))

    def log_similarity(self, rows: Rows) -> Tensor:
        """Return log_rho_PB, at most 0 (to rounding); 0 where j = n."""
        _, num_values, num_components, _, batch_size = self._kernels_2RCKB.shape
        row_P = _flat_index(rows, batch_size)
        per_value = max(1, num_components**2 * len(row_P) * batch_size)
        size = max(1, _limit(row_P.device) // per_value)
        self._blocks = [slice(start, start + size) for start in range(0, num_values, size)]
        log_rho_CCPB, *kept = self._bhattacharyya(self._blocks[0], row_P, rows.class_P)
        for block in self._blocks[1:]:
            log_rho_CCPB += self._bhattacharyya(block, row_P, rows.class_P)[0]
        self._kept = tuple(kept) if len(self._blocks) == 1 else ()
        if self._log_weights_CKB is None or self._log_norms_KB is None:
            # One component: its weight cancels and each norm is 1.
            return log_rho_CCPB.flatten(0, 2)
        log_rho_CCPB += self._log_weights_CKB.flatten(1).index_select(1, row_P)[:, None, :, None]
        log_rho_CCPB += self._log_weights_CKB.index_select(1, rows.class_P)
        log_product_PB = log_rho_CCPB.flatten(0, 1).logsumexp(0)
        self._shares_CCPB = log_rho_CCPB.sub_(log_product_PB).exp_()
        log_product_PB -= self._log_norms_KB.flatten().index_select(0, row_P).unsqueeze(1)
        return log_product_PB.sub_(self._log_norms_KB.index_select(0, rows.class_P))

    def add_gradient(self, rows: Rows, grad_PB: Tensor) -> None:
        """Take the derivative by log ρ of the rows last asked for."""
        _, num_values, num_components, num_classes, batch_size = self._kernels_2RCKB.shape
        row_P = _flat_index(rows, batch_size)
        if self._slopes_3RCKB is None:
            self._slopes_3RCKB = grad_PB.new_zeros((3, num_values, num_components, num_classes, batch_size))
        grad_CCPB = grad_PB
        if self._shares_CCPB is not None:
            grad_CCPB = self._shares_CCPB.mul_(grad_PB)
            self._add_weight_gradients(rows, row_P, grad_CCPB, grad_PB)
        for block in self._blocks:
            kept = self._kept or self._bhattacharyya(block, row_P, rows.class_P)[1:]
            slopes_3rCCPB = _slopes(kept[0], kept[1], grad_CCPB)
            sums_3rCKB = self._slopes_3RCKB[:, block]
            columns = slopes_3rCCPB.squeeze(2) if num_components == 1 else slopes_3rCCPB.sum(2)
            sums_3rCKB.index_add_(3, rows.class_P, columns)
            own_3rCP = slopes_3rCCPB.sum((3, 5))
            own_3rCP[:2].neg_()
            _flatten_rows(sums_3rCKB).index_add_(3, row_P, own_3rCP)
        self._kept, self._shares_CCPB = (), None

    def gradients(self, factor: float) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """By means_BKCR, variances_BKCR, log_weights_BKC and log_norms_KB, times a factor; to be asked for once."""
        if self._slopes_3RCKB is None:
            self._slopes_3RCKB = self._kernels_2RCKB.new_zeros((3, *self._kernels_2RCKB.shape[1:]))
        mean, relative, shared = self._slopes_3RCKB.unbind()
        grad_means = mean.mul_(0.5 * self._scale * factor)
        grad_variances = relative.div_(self._kernels_2RCKB[1]).add_(shared).mul_(0.25 * self._scale * factor)
        outer = (3, 2, 1, 0)
        weights, norms = self._grad_weights_CKB, self._grad_norms_KB
        return (
            grad_means.permute(outer),
            grad_variances.permute(outer),
            None if weights is None else weights.mul_(factor).permute(2, 1, 0),
            None if norms is None else norms.mul_(factor),
        )

    def _bhattacharyya(self, block: slice, row_P: Tensor, class_P: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`_log_rho` of the rows' kernels, (2, r, C, 1, P, 1), and class k's of every sample, (2, r, 1, C, P, B)."""
        kernels_2rCKB = self._kernels_2RCKB if len(self._blocks) == 1 else self._kernels_2RCKB[:, block]
        rows_2rCP = _flatten_rows(kernels_2rCKB).index_select(3, row_P)
        columns_2rCPB = kernels_2rCKB.index_select(3, class_P)
        return _log_rho(rows_2rCP[:, :, :, None, :, None], columns_2rCPB.unsqueeze(2), self._scale)

    def _add_weight_gradients(self, rows: Rows, row_P: Tensor, grad_CCPB: Tensor, grad_PB: Tensor) -> None:
        assert self._log_weights_CKB is not None and self._log_norms_KB is not None
        if self._grad_weights_CKB is None or self._grad_norms_KB is None:
            self._grad_weights_CKB = torch.zeros_like(self._log_weights_CKB)
            self._grad_norms_KB = torch.zeros_like(self._log_norms_KB)
        self._grad_weights_CKB.index_add_(1, rows.class_P, grad_CCPB.sum(0))
        self._grad_weights_CKB.flatten(1).index_add_(1, row_P, grad_CCPB.sum((1, 3)))
        self._grad_norms_KB.index_add_(0, rows.class_P, grad_PB, alpha=-1.0)
        self._grad_norms_KB.flatten().index_add_(0, row_P, grad_PB.sum(1), alpha=-1.0)


def log_norms(mixture: KernelMixture, dimension_scale: float) -> Tensor | None:
    """Half the log of <p, p> = Σ_cc' α_c α_c' ρ(c, c') of every mixture; ρ(c, c) = 1 and ρ is symmetric.

    Args:
        mixture: kernels of the batch.
        dimension_scale: as for `MixtureSimilarity`.

    Returns:
        log_norms_KB; none for C = 1, where they are 0.
    """
    num_components = mixture.means_BKCR.shape[2]
    if num_components == 1:
        return None
    kernels_2RCKB = torch.stack((mixture.means_BKCR, mixture.variances_BKCR)).permute(0, 4, 3, 2, 1)
    log_weights_CKB = mixture.log_weights_BKC.permute(2, 1, 0)
    first, second = torch.triu_indices(num_components, num_components, 1, device=kernels_2RCKB.device)
    log_rho_SKB: Tensor = _PairSimilarity.apply(
        kernels_2RCKB.index_select(2, first), kernels_2RCKB.index_select(2, second), dimension_scale
    )
    log_crossed_SKB = log_rho_SKB + log_weights_CKB.index_select(0, first) + log_weights_CKB.index_select(0, second)
    return 0.5 * torch.cat((2.0 * log_weights_CKB, log_crossed_SKB + _LOG_2)).logsumexp(0)


class _PairSimilarity(Function):
    """Log ρ of kernels to others of the same shape, one by one; the R differences are not kept."""

    @staticmethod
    def forward(ctx: Any, left_2R: Tensor, right_2R: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(left_2R, right_2R)
        ctx.scale = scale
        return _log_rho(left_2R, right_2R, scale)[0]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        left_2R, right_2R = ctx.saved_tensors
        mean, relative, shared = _slopes(*_log_rho(left_2R, right_2R, ctx.scale)[1:], grad)
        half, quarter = 0.5 * ctx.scale, 0.25 * ctx.scale
        grad_left_2R = torch.stack((mean * -half, (relative / left_2R[1] - shared) * -quarter))
        grad_right_2R = torch.stack((mean * half, (relative / right_2R[1] + shared) * quarter))
        return grad_left_2R, grad_right_2R, None


# What follows works on pairs of Gaussians whose means and variances are stacked: left_2R… and right_2R… broadcast
# against each other in all dimensions but the first two.


def _log_rho(left_2R: Tensor, right_2R: Tensor, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """Log ρ = -s Σ_r [½ log((v + v') / (2 √(v v'))) + ¼ (μ - μ')² / (v + v')], and its two building blocks.

    (v + v')² = (v - v')² + 4 v v' makes the first term ¼ log1p((v - v')² / (4 v v')): nothing cancels where two kernels
    nearly agree, which a scale of thousands of dimensions would magnify.

    Returns:
        log ρ; the differences (μ - μ', v - v'), stacked; 1 / (v + v').
    """
    variance, other_variance = left_2R[1], right_2R[1]
    difference_2R = left_2R - right_2R
    inverse_sum_R = (variance + other_variance).reciprocal_()
    mean_square_R, terms_R = difference_2R.square().unbind()
    terms_R.mul_(0.25 / variance).div_(other_variance).log1p_().addcmul_(mean_square_R, inverse_sum_R)
    return (terms_R[0] if len(terms_R) == 1 else terms_R.sum(0)).mul_(-0.25 * scale), difference_2R, inverse_sum_R


def _slopes(difference_2R: Tensor, inverse_sum_R: Tensor, grad: Tensor) -> Tensor:
    """The derivative of Σ grad · log ρ, pair by pair, in the three parts that its four partial derivatives share.

    With (m, a, c) the parts: ∂/∂μ = -½s·m, ∂/∂μ' = ½s·m, ∂/∂v = -¼s·(a / v - c), ∂/∂v' = ¼s·(a / v' + c).

    Returns:
        m = q (μ - μ') grad, a = q (v - v') grad and c = q (μ - μ') m, stacked, with q = 1 / (v + v').
    """
    slopes_3R = difference_2R.new_empty((3, *difference_2R.shape[1:]))
    torch.mul(difference_2R, inverse_sum_R * grad, out=slopes_3R[:2])
    torch.mul(difference_2R[0] * inverse_sum_R, slopes_3R[0], out=slopes_3R[2])
    return slopes_3R


def _flat_index(rows: Rows, batch_size: int) -> Tensor:
    """Where a row's own kernel stands among the K·B of a flattened (K, B)."""
    return torch.add(rows.sample_P, rows.class_P, alpha=batch_size)


def _flatten_rows(part_XRCKB: Tensor) -> Tensor:
    return part_XRCKB.view(*part_XRCKB.shape[:3], -1)


def _limit(device: torch.device) -> int:
    return _BLOCK_ELEMENTS if device.type == "cpu" else _BLOCK_ELEMENTS_ON_ACCELERATORS
