"""Kernels between features and mixtures, and similarities between mixtures, all in log space.

Some functions below carry their own derivative: written as a chain of small operations they would keep, and launch,
many times what the formula needs.

Shape suffixes: B batch, D features, K classes, C kernels per class, R values of one kernel's mean or variance (1 or D),
P rows (n, k) with a positive label.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from kmcl_platform.method.kernel_mixture import KernelMixture

_BLOCK_ELEMENTS = 2**20
"""Elements of a pairwise quantity that are held at once on a CPU, whose cache they fit: the R values of anisotropic
kernels are taken block by block."""

_BLOCK_ELEMENTS_ON_ACCELERATORS = 2**26

_LOG_2 = math.log(2.0)


def log_kernel(features_BD: Tensor, mixture: KernelMixture) -> Tensor:
    """Log of g[n,k] = Σ_c α exp(-½ Σ_d (f_d - μ_d)² / v_d) (METHOD.md, Kernel).

    Isotropic kernels cost O(B(D + KC)) by Σ_d (f_d - μ)² = Σ_d (f_d - f̄)² + D(f̄ - μ)², whose terms cannot cancel;
    anisotropic ones O(BDKC).

    Args:
        features_BD: f.
        mixture: the kernels of the same samples.

    Returns:
        log_g_BK, at most 0; finite where g itself underflows.
    """
    if mixture.means_BKCR.shape[3] == 1:
        log_g_BK: Tensor = _IsotropicLogKernel.apply(
            features_BD, mixture.means_BKCR.squeeze(3), mixture.variances_BKCR.squeeze(3), mixture.log_weights_BKC
        )
        return log_g_BK
    offset_BKCR = features_BD[:, None, None, :] - mixture.means_BKCR
    log_terms_BKC = -0.5 * (offset_BKCR.square() / mixture.variances_BKCR).sum(3)
    if log_terms_BKC.shape[2] == 1:
        return log_terms_BKC.squeeze(2)
    return (mixture.log_weights_BKC + log_terms_BKC).logsumexp(2)


class _IsotropicLogKernel(Function):
    """Log Σ_c α exp(-½ (spread + D (f̄ - μ)²) / v), spread = Σ_d (f_d - f̄)²."""

    @staticmethod
    def forward(
        ctx: Any, features_BD: Tensor, means_BKC: Tensor, variances_BKC: Tensor, log_weights_BKC: Tensor
    ) -> Tensor:
        mean_B1 = features_BD.mean(1, keepdim=True)
        # The norm runs over the features in one pass without a copy, several times faster than squares and their sum.
        spread_B1 = torch.linalg.vector_norm(features_BD - mean_B1, dim=1, keepdim=True).square_()
        offset_BKC = mean_B1.unsqueeze(2) - means_BKC
        distance_BKC = torch.addcmul(spread_B1.unsqueeze(2), offset_BKC, offset_BKC, value=features_BD.shape[1])
        distance_BKC.div_(variances_BKC)
        if distance_BKC.shape[2] == 1:
            # The log weight of a single component is 0.
            log_g_BK, share_BKC = distance_BKC.squeeze(2) * -0.5, None
        else:
            log_terms_BKC = torch.add(log_weights_BKC, distance_BKC, alpha=-0.5)
            log_g_BK = log_terms_BKC.logsumexp(2)
            share_BKC = log_terms_BKC.sub_(log_g_BK.unsqueeze(2)).exp_()
        ctx.save_for_backward(features_BD, mean_B1, offset_BKC, distance_BKC, variances_BKC, share_BKC)
        return log_g_BK

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BK: Tensor) -> tuple[Tensor | None, ...]:
        features_BD, mean_B1, offset_BKC, distance_BKC, variances_BKC, share_BKC = ctx.saved_tensors
        grad_BKC = grad_BK.unsqueeze(2)
        if share_BKC is not None:
            grad_BKC = grad_BKC * share_BKC
        pull_BKC = grad_BKC / variances_BKC
        shift_BKC = pull_BKC * offset_BKC
        # ∂/∂f_d = -Σ (f_d - μ) g/v, with f_d - μ = (f_d - f̄) + (f̄ - μ).
        slope_B1, constant_B1 = pull_BKC.sum((1, 2)).neg_().unsqueeze(1), shift_BKC.sum((1, 2)).unsqueeze(1)
        grad_features_BD = (features_BD - mean_B1).mul_(slope_B1).sub_(constant_B1)
        grad_variances_BKC = pull_BKC.mul_(distance_BKC).mul_(0.5)
        grad_weights_BKC = None if share_BKC is None else grad_BKC
        return grad_features_BD, shift_BKC.mul_(features_BD.shape[1]), grad_variances_BKC, grad_weights_BKC


def log_similarity(mixture: KernelMixture, sample_P: Tensor, class_P: Tensor, *, dimension_scale: float) -> Tensor:
    """Log similarity log ρ_k(n, j) of rows (n, k) to all samples j of the batch (METHOD.md, Contrastive).

    C = 1: the Bhattacharyya coefficient of class k's Gaussians in samples n and j. C > 1: the cosine of the two
    mixtures in the RKHS where components have that coefficient as inner product. Costs O(P·B·C²·R).

    Args:
        mixture: kernels of the batch.
        sample_P: n of each row, integer.
        class_P: k of each row, integer.
        dimension_scale: factor of the sum over the R values of a kernel: D/R is the method's own.

    Returns:
        log_rho_PB, at most 0 (to rounding); 0 where j = n.
    """
    # Samples come last: elementwise work and the sums over C and R then run along long contiguous rows.
    kernels_2RCKB = torch.stack((mixture.means_BKCR, mixture.variances_BKCR)).permute(0, 4, 3, 2, 1).contiguous()
    log_rho_CCPB: Tensor = _RowSimilarity.apply(kernels_2RCKB, sample_P, class_P, dimension_scale)
    if len(log_rho_CCPB) == 1:
        # One component: its weight cancels and each norm is 1.
        return log_rho_CCPB.flatten(0, 2)
    log_weights_CKB = mixture.log_weights_BKC.permute(2, 1, 0).contiguous()
    log_norms_KB = 0.5 * _log_square_norms(kernels_2RCKB, log_weights_CKB, dimension_scale)
    row_P = class_P * log_norms_KB.shape[1] + sample_P
    # index_select, because its backward is several times faster on CPUs than that of advanced indexing.
    row_weights_CP = log_weights_CKB.flatten(1).index_select(1, row_P)
    row_norms_P = log_norms_KB.flatten().index_select(0, row_P)
    log_terms_CCPB = log_rho_CCPB + row_weights_CP[:, None, :, None] + log_weights_CKB.index_select(1, class_P)
    log_products_PB = log_terms_CCPB.flatten(0, 1).logsumexp(0)
    return log_products_PB - row_norms_P.unsqueeze(1) - log_norms_KB.index_select(0, class_P)


def _log_square_norms(kernels_2RCKB: Tensor, log_weights_CKB: Tensor, dimension_scale: float) -> Tensor:
    """Log of <p, p> = Σ_cc' α_c α_c' ρ(c, c') of every mixture; ρ(c, c) = 1 and ρ is symmetric."""
    num_components = len(log_weights_CKB)
    first, second = torch.triu_indices(num_components, num_components, 1, device=kernels_2RCKB.device)
    log_rho_SKB: Tensor = _PairSimilarity.apply(
        kernels_2RCKB.index_select(2, first), kernels_2RCKB.index_select(2, second), dimension_scale
    )
    log_crossed_SKB = log_rho_SKB + log_weights_CKB.index_select(0, first) + log_weights_CKB.index_select(0, second)
    return torch.cat((2.0 * log_weights_CKB, log_crossed_SKB + _LOG_2)).logsumexp(0)


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


def _slopes(difference_2R: Tensor, inverse_sum_R: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    """The derivative of Σ grad · log ρ, pair by pair, in the parts that its four partial derivatives share.

    With m, a = slopes and c = shared: ∂/∂μ = -½s·m, ∂/∂μ' = ½s·m, ∂/∂v = -¼s·(a / v - c), ∂/∂v' = ¼s·(a / v' + c).

    Returns:
        (m, a), stacked; c.
    """
    slopes_2R = difference_2R * (inverse_sum_R * grad)
    return slopes_2R, (difference_2R[0] * inverse_sum_R).mul_(slopes_2R[0])


class _RowSimilarity(Function):
    """Log ρ of the kernels of rows (n, k) to class k's kernels of every sample.

    Where they are formed in several blocks, the differences are formed anew in the backward pass: between the passes
    only the parameters are kept, not R·C²·P·B differences.
    """

    @staticmethod
    def forward(ctx: Any, kernels_2RCKB: Tensor, sample_P: Tensor, class_P: Tensor, scale: float) -> Tensor:
        _, num_values, num_components, _, batch_size = kernels_2RCKB.shape
        row_P = class_P * batch_size + sample_P
        blocks = _blocks(num_values, num_components**2 * len(row_P) * batch_size, kernels_2RCKB.device)
        log_rho_CCPB, difference, inverse_sum = _log_rho(*_take(kernels_2RCKB[:, blocks[0]], row_P, class_P), scale)
        kept = (difference, inverse_sum) if len(blocks) == 1 else ()
        for block in blocks[1:]:
            log_rho_CCPB += _log_rho(*_take(kernels_2RCKB[:, block], row_P, class_P), scale)[0]
        ctx.save_for_backward(kernels_2RCKB, row_P, class_P, *kept)
        ctx.scale, ctx.blocks = scale, blocks
        return log_rho_CCPB

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_CCPB: Tensor) -> tuple[Tensor | None, ...]:
        kernels_2RCKB, row_P, class_P, *kept = ctx.saved_tensors
        grad_2RCKB = torch.zeros_like(kernels_2RCKB)
        for block in ctx.blocks:
            kernels_2rCKB = kernels_2RCKB[:, block]
            if not kept:
                _, *kept = _log_rho(*_take(kernels_2rCKB, row_P, class_P), ctx.scale)
            difference, inverse_sum = kept
            slopes, shared = _slopes(difference, inverse_sum, grad_CCPB)
            kept = []
            out_2rCKB = grad_2RCKB[:, block]
            # The columns' share, summed over the rows of each class (and the rows' components).
            out_2rCKB.index_add_(3, class_P, slopes.squeeze(2) if slopes.shape[2] == 1 else slopes.sum(2))
            out_2rCKB[1].div_(kernels_2rCKB[1])
            out_2rCKB[1].index_add_(2, class_P, shared.squeeze(1) if shared.shape[1] == 1 else shared.sum(1))
            # The rows' share, summed over all samples (and the columns' components).
            rows_2rCP = -slopes.sum((3, 5))
            rows_2rCP[1].div_(kernels_2rCKB[1].flatten(2).index_select(2, row_P)).add_(shared.sum((2, 4)))
            _add_at_rows(out_2rCKB, row_P, rows_2rCP)
        grad_2RCKB[0].mul_(0.5 * ctx.scale)
        grad_2RCKB[1].mul_(0.25 * ctx.scale)
        return grad_2RCKB, None, None, None


def _take(kernels_2rCKB: Tensor, row_P: Tensor, class_P: Tensor) -> tuple[Tensor, Tensor]:
    """The rows' kernels, (2, r, C, 1, P, 1), and class k's kernels in every sample, (2, r, 1, C, P, B)."""
    rows_2rCP = kernels_2rCKB.flatten(3).index_select(3, row_P)
    return rows_2rCP[:, :, :, None, :, None], kernels_2rCKB.index_select(3, class_P).unsqueeze(2)


def _add_at_rows(out_2rCKB: Tensor, row_P: Tensor, values_2rCP: Tensor) -> None:
    *outer, num_classes, batch_size = out_2rCKB.shape
    flat = out_2rCKB.view(*outer, num_classes * batch_size)
    flat.index_add_(3, row_P, values_2rCP)


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
        slopes_2R, shared_R = _slopes(*_log_rho(left_2R, right_2R, ctx.scale)[1:], grad)
        half, quarter = 0.5 * ctx.scale, 0.25 * ctx.scale
        grad_left_2R = torch.stack((slopes_2R[0] * -half, (slopes_2R[1] / left_2R[1] - shared_R) * -quarter))
        grad_right_2R = torch.stack((slopes_2R[0] * half, (slopes_2R[1] / right_2R[1] + shared_R) * quarter))
        return grad_left_2R, grad_right_2R, None


def _blocks(num_values: int, elements_per_value: int, device: torch.device) -> list[slice]:
    """Slices of the R values whose pairwise quantities are held together."""
    limit = _BLOCK_ELEMENTS if device.type == "cpu" else _BLOCK_ELEMENTS_ON_ACCELERATORS
    size = max(1, limit // max(1, elements_per_value))
    return [slice(start, start + size) for start in range(0, num_values, size)]
