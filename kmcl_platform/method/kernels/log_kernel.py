"""The kernel between features and a sample's mixture, in log space.

Both forms have an explicit derivative. Autograd would keep the intermediate tensors of several small operations
and start one operation for each of them, which takes several times the memory and the time of the formula itself.

Shape suffixes: B batch, D features, K classes, C kernels per class, R values of one kernel's mean or variance (1 or D),
M = K·C kernels of a sample.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from kmcl_platform.method.kernels.mixture_head import KernelMixture


def log_kernel(features_BD: Tensor, mixture: KernelMixture, *, scale: float = 1.0) -> Tensor:
    """Log of the mixture's value at the features (docs/method.md, Kernel).

    g[n,k] = Σ_c α exp(-½ s Σ_d (f_d - μ_d)² / v_d). Isotropic kernels cost O(B(D + KC)), by the identity
    Σ_d (f_d - μ)² = Σ_d (f_d - f̄)² + D(f̄ - μ)², in which nothing cancels; kernels with R = D cost O(BDKC).

    Args:
        features_BD: f.
        mixture: the kernels of the same samples.
        scale: s. 1 is the formula of docs/method.md; 1/D makes the sum over the features a mean.

    Returns:
        log_g_BK, at most 0; finite also where g itself underflows.
    """
    kernel = _IsotropicLogKernel if mixture.means_BKCR.shape[3] == 1 else _FeaturewiseLogKernel
    log_g_BK: Tensor = kernel.apply(features_BD, *mixture[1:], scale)  # means, variances, log weights
    return log_g_BK


class _IsotropicLogKernel(Function):
    """log Σ_c α exp(-½ s distance) with distance = (spread + D (f̄ - μ)²) / v and spread = Σ_d (f_d - f̄)².

    With `share` the softmax of the terms over c (the part of each component in the sum), the partial derivatives of
    log g are

        ∂/∂log α_c = share_c        ∂/∂v_c = ½ s share_c · distance_c / v_c
        ∂/∂μ_c = s share_c · D (f̄ - μ_c) / v_c        ∂/∂f_d = -s Σ_c share_c · (f_d - μ_c) / v_c

    s is multiplied into factors that are there anyway, so it costs no pass over a tensor.
    """

    @staticmethod
    def forward(
        ctx: Any,
        features_BD: Tensor,
        means_BKC1: Tensor,
        variances_BKC1: Tensor,
        log_weights_BKC: Tensor,
        scale: float,
    ) -> Tensor:
        mean_B1 = features_BD.mean(1, keepdim=True)
        # The norm reads the features once and makes no copy: several times faster than squares and their sum.
        spread_B1 = torch.linalg.vector_norm(features_BD - mean_B1, dim=1, keepdim=True).square_()
        variances_BM = variances_BKC1.flatten(1)
        # f̄ - μ of every kernel. Below, distance = (spread + D (f̄ - μ)²) / v.
        offset_BM = mean_B1 - means_BKC1.flatten(1)
        distance_BM = torch.addcmul(spread_B1, offset_BM, offset_BM, value=features_BD.shape[1]).div_(variances_BM)
        if log_weights_BKC.shape[2] == 1:
            # The log weight of a single component is 0, and its share is 1.
            log_g_BK, share_BKC = distance_BM * (-0.5 * scale), None
        else:
            log_terms_BKC = torch.add(log_weights_BKC, distance_BM.view_as(log_weights_BKC), alpha=-0.5 * scale)
            log_g_BK = log_terms_BKC.logsumexp(2)
            # Softmax over c, written over the terms, which have no other use.
            share_BKC = log_terms_BKC.sub_(log_g_BK.unsqueeze(2)).exp_()
        ctx.shape, ctx.scale = means_BKC1.shape, scale
        ctx.save_for_backward(features_BD, mean_B1, offset_BM, distance_BM, variances_BM, share_BKC)
        return log_g_BK

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BK: Tensor) -> tuple[Tensor | None, ...]:
        features_BD, mean_B1, offset_BM, distance_BM, variances_BM, share_BKC = ctx.saved_tensors
        # ∂L/∂log g times `share`: the gradient that each kernel receives, (B, M).
        grad_BM = grad_BK if share_BKC is None else (grad_BK.unsqueeze(2) * share_BKC).flatten(1)
        # Every formula of the docstring but the first has the factor s share / v; s follows below.
        pull_BM = grad_BM / variances_BM
        # share · (f̄ - μ) / v: summed over kernels it is the second part of ∂/∂f_d, times D it is ∂/∂μ.
        shift_BM = pull_BM * offset_BM
        grad_features_BD = None
        # Features of a frozen backbone have no gradient.
        if ctx.needs_input_grad[0]:
            # The sum over kernels of (f_d - μ)·pull, without a B x D x M tensor: f_d - μ = (f_d - f̄) + (f̄ - μ), of
            # which the first part is the same for all kernels and the second for all dimensions.
            grad_features_BD = (features_BD - mean_B1).mul_(pull_BM.sum(1, keepdim=True).mul_(-ctx.scale))
            grad_features_BD.sub_(shift_BM.sum(1, keepdim=True), alpha=ctx.scale)
        return (
            grad_features_BD,
            shift_BM.mul_(features_BD.shape[1] * ctx.scale).view(ctx.shape),
            pull_BM.mul_(distance_BM).mul_(0.5 * ctx.scale).view(ctx.shape),
            None if share_BKC is None else grad_BM.view(ctx.shape[:3]),
            None,
        )


class _FeaturewiseLogKernel(Function):
    """log Σ_c α exp(-½ s Σ_d (f_d - μ_d)² / v_d): each dimension has its own mean and variance.

    With w = (f - μ) / v and `share` as above,

        ∂/∂log α_c = share_c        ∂/∂μ_c = s share_c w        ∂/∂v_c = ½ s share_c w²        ∂/∂f = -s Σ_c share_c w
    """

    @staticmethod
    def forward(
        ctx: Any,
        features_BD: Tensor,
        means_BKCD: Tensor,
        variances_BKCD: Tensor,
        log_weights_BKC: Tensor,
        scale: float,
    ) -> Tensor:
        offset_BKCD = features_BD[:, None, None, :] - means_BKCD
        pull_BKCD = offset_BKCD / variances_BKCD
        log_terms_BKC = offset_BKCD.mul_(pull_BKCD).sum(3).mul_(-0.5 * scale)
        if log_weights_BKC.shape[2] == 1:
            # The log weight of a single component is 0, and its share is 1.
            log_g_BK, share_BKC = log_terms_BKC.squeeze(2), None
        else:
            log_terms_BKC += log_weights_BKC
            log_g_BK = log_terms_BKC.logsumexp(2)
            share_BKC = log_terms_BKC.sub_(log_g_BK.unsqueeze(2)).exp_()
        ctx.scale = scale
        ctx.save_for_backward(pull_BKCD, share_BKC)
        return log_g_BK

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BK: Tensor) -> tuple[Tensor | None, ...]:
        pull_BKCD, share_BKC = ctx.saved_tensors
        grad_BKC = grad_BK.unsqueeze(2) if share_BKC is None else grad_BK.unsqueeze(2) * share_BKC
        grad_means_BKCD = pull_BKCD * (grad_BKC * ctx.scale).unsqueeze(3)
        return (
            # Features of a frozen backbone have no gradient.
            grad_means_BKCD.flatten(1, 2).sum(1).neg_() if ctx.needs_input_grad[0] else None,
            grad_means_BKCD,
            (grad_means_BKCD * pull_BKCD).mul_(0.5),
            None if share_BKC is None else grad_BKC,
            None,
        )
