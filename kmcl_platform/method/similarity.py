"""Kernels between features and mixtures, and similarities between mixtures, all in log space.

Shape suffixes: B batch, D features, K classes, C kernels per class, P rows (n, k) with a positive label.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from kmcl_platform.method.kernel_mixture import KernelMixture


def log_kernel(features_BD: Tensor, mixture: KernelMixture) -> Tensor:
    """Log of g[n,k] = Σ_c α exp(-½ Σ_d (f_d - μ)² / v) (METHOD.md, Kernel).

    Costs O(B(D + KC)) by Σ_d (f_d - μ)² = Σ_d (f_d - f̄)² + D(f̄ - μ)², whose terms cannot cancel.

    Args:
        features_BD: f.
        mixture: the kernels of the same samples.

    Returns:
        log_g_BK, at most 0; finite where g itself underflows.
    """
    num_features = features_BD.shape[1]
    mean_B1 = features_BD.mean(1, keepdim=True)
    # Detached, because the gradient of the spread through f̄ is -2 Σ (f_d - f̄) = 0.
    spread_B11 = (features_BD - mean_B1.detach()).square().sum(1).view(-1, 1, 1)
    distance_BKC = spread_B11 + num_features * (mean_B1.unsqueeze(2) - mixture.means_BKC).square()
    log_terms_BKC = mixture.log_weights_BKC - 0.5 * distance_BKC / mixture.variances_BKC
    return log_terms_BKC.squeeze(2) if log_terms_BKC.shape[2] == 1 else log_terms_BKC.logsumexp(2)


def log_similarity(num_features: int, mixture: KernelMixture, sample_P: Tensor, class_P: Tensor) -> Tensor:
    """Log similarity log ρ_k(n, j) of rows (n, k) to all samples j of the batch (METHOD.md, Contrastive).

    C = 1: the Bhattacharyya coefficient of class k's Gaussians in samples n and j. C > 1: the cosine of the two
    mixtures in the RKHS where components have that coefficient as inner product. Costs O(P·B·C²).

    Args:
        num_features: D, the number of dimensions that a kernel's scalar mean and variance stand for.
        mixture: kernels of the batch.
        sample_P: n of each row, integer.
        class_P: k of each row, integer.

    Returns:
        log_rho_PB, at most 0 (to rounding); 0 where j = n.
    """
    batch_size, _, num_kernels = mixture.means_BKC.shape
    row_P = class_P * batch_size + sample_P

    # C comes first: elementwise work and the sums over C then run along long contiguous rows.
    def to_CKB(part_BKC: Tensor) -> Tensor:
        return part_BKC.permute(2, 1, 0).contiguous()

    # index_select, because its backward is several times faster on CPUs than that of advanced indexing.
    def rows_CP1(part_CKB: Tensor) -> Tensor:
        return part_CKB.flatten(1).index_select(1, row_P).unsqueeze(2)

    def columns_CPB(part_CKB: Tensor) -> Tensor:
        return part_CKB.index_select(1, class_P)

    means_CKB, deviations_CKB = to_CKB(mixture.means_BKC), to_CKB(mixture.variances_BKC.sqrt())
    if num_kernels == 1:
        # One component: its weight cancels and each norm is 1.
        return _log_bhattacharyya(
            num_features,
            rows_CP1(means_CKB),
            rows_CP1(deviations_CKB),
            columns_CPB(means_CKB),
            columns_CPB(deviations_CKB),
        ).squeeze(0)
    kernels = _Kernels(means_CKB, deviations_CKB, to_CKB(mixture.log_weights_BKC))
    rows = _Kernels(*(rows_CP1(part_CKB) for part_CKB in kernels))
    columns = _Kernels(*(columns_CPB(part_CKB) for part_CKB in kernels))
    log_norm_1KB = 0.5 * _log_inner_product(num_features, kernels, kernels).unsqueeze(0)
    log_norms_PB = (rows_CP1(log_norm_1KB) + columns_CPB(log_norm_1KB)).squeeze(0)
    return _log_inner_product(num_features, rows, columns) - log_norms_PB


class _Kernels(NamedTuple):
    """Components of mixtures, all of shape (C, ...)."""

    means: Tensor
    deviations: Tensor
    log_weights: Tensor


def _log_inner_product(num_features: int, left: _Kernels, right: _Kernels) -> Tensor:
    """Log of Σ_cc' α_c α_c' ρ(c, c') for each pair of mixtures; what follows C broadcasts."""
    means, deviations, log_weights = (part.unsqueeze(1) for part in left)
    log_rho = _log_bhattacharyya(num_features, means, deviations, right.means, right.deviations)
    return (log_weights + right.log_weights + log_rho).logsumexp((0, 1))


def _log_bhattacharyya(
    num_features: int, means: Tensor, deviations: Tensor, other_means: Tensor, other_deviations: Tensor
) -> Tensor:
    """Log ρ = -D [½ log((v + v') / (2 s s')) + ¼ (μ - μ')² / (v + v')] of isotropic Gaussians, s = √v; broadcasts.

    With r = (s - s')² / (2 s s') the first term is ½ log1p(r) and v + v' = 2 s s' (1 + r): nothing cancels where two
    kernels nearly agree, which the factor D would magnify.
    """
    product = deviations * other_deviations
    ratio = (deviations - other_deviations).square() / (2.0 * product)
    distance = (means - other_means).square() / (4.0 * product * (1.0 + ratio))
    return (-0.5 * num_features) * (torch.log1p(ratio) + distance)
