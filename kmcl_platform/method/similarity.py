"""Kernels between features and mixtures, and similarities between mixtures, all in log space.

Shape suffixes: B batch, D features, K classes, C kernels per class, P rows (n, k) with a positive label. Where two
kernels meet, the second C belongs to the second of them.
"""

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
    means_KBC = mixture.means_BKC.transpose(0, 1)
    deviations_KBC = mixture.variances_BKC.sqrt().transpose(0, 1)
    row_P = class_P * batch_size + sample_P
    # index_select, because its backward is several times faster on CPUs than that of advanced indexing.
    if num_kernels == 1:
        means_KB, deviations_KB = means_KBC.squeeze(2), deviations_KBC.squeeze(2)
        return _log_bhattacharyya(
            num_features,
            means_KB.reshape(-1).index_select(0, row_P).unsqueeze(1),
            deviations_KB.reshape(-1).index_select(0, row_P).unsqueeze(1),
            means_KB.index_select(0, class_P),
            deviations_KB.index_select(0, class_P),
        )
    log_weights_KBC = mixture.log_weights_BKC.transpose(0, 1)
    parts_KBC = (means_KBC, deviations_KBC, log_weights_KBC)
    rows_P1C = [part.reshape(-1, 1, num_kernels).index_select(0, row_P) for part in parts_KBC]
    columns_PBC = [part.index_select(0, class_P) for part in parts_KBC]
    log_product_PB = _log_inner_product(num_features, rows_P1C, columns_PBC)
    log_norm_KB = 0.5 * _log_inner_product(num_features, parts_KBC, parts_KBC)
    log_norm_P1 = log_norm_KB.reshape(-1, 1).index_select(0, row_P)
    return log_product_PB - log_norm_P1 - log_norm_KB.index_select(0, class_P)


def _log_inner_product(
    num_features: int, left: tuple[Tensor, ...] | list[Tensor], right: tuple[Tensor, ...] | list[Tensor]
) -> Tensor:
    """Log of Σ_cc' α_c α_c' ρ(c, c'); each side is means, deviations, log weights of shape (..., C)."""
    (means, deviations, log_weights) = (part.unsqueeze(-1) for part in left)
    (other_means, other_deviations, other_log_weights) = (part.unsqueeze(-2) for part in right)
    log_rho = _log_bhattacharyya(num_features, means, deviations, other_means, other_deviations)
    return (log_weights + other_log_weights + log_rho).logsumexp((-2, -1))


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
