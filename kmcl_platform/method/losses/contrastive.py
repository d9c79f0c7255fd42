"""The contrastive loss over pairs of samples that share a positive class.

Shape suffixes: A anchors (this worker's samples), B batch (all samples that anchors are compared with), K classes,
C kernels per class, R values of one kernel's mean or variance, P rows (n, k) with a positive label.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from kmcl_platform.method.kernels.mixture_head import KernelMixture
from kmcl_platform.method.kernels.similarity import MixtureSimilarity, Rows, log_norms

_RATIO_FLOOR = 1e-7
"""Added inside the released code's logarithm."""

_EXCLUDED = -1e30
"""Added to what a log-sum-exp is to leave out; finite, so that times a weight of 0 it is 0."""


def contrastive_loss(
    mixture: KernelMixture,
    positive_BK: Tensor,
    known_BK: Tensor,
    *,
    dimension_scale: float,
    temperature: float,
    anchors: slice = slice(None),
    weight_inside_log: bool = False,
    max_labels: int | None = None,
) -> Tensor:
    """Contrastive loss, summed over the anchors (METHOD.md, loss 3, times B).

    Only rows (n, k) of an anchor's positive classes need a log-sum-exp: O(P·B·C²·R) work. A class unknown in either
    sample of a pair is left out of its Jaccard weight; a sample whose class k is unknown is left out of the
    denominators of class k.

    Args:
        mixture: kernels of the batch.
        positive_BK: bool, known positive elements.
        known_BK: bool, elements that count.
        dimension_scale: factor of the sum over a kernel's R values in the similarity (see `MixtureSimilarity`).
        temperature: τ > 0.
        anchors: which samples' terms are summed; all samples are compared with them.
        weight_inside_log: the released formula, -log(J·ratio + 1e-7), instead of -J·log(ratio).
        max_labels: none: the rows are counted, for which the host waits for the device. A number: an upper bound on
            positive labels per sample, from which the number of rows is known beforehand; nothing waits, and the result
            is NaN where the bound does not hold.

    Returns:
        0-dimensional; 0 with a gradient graph where no anchor shares a positive class with another sample.
    """
    total: Tensor = _ContrastiveLoss.apply(
        *mixture[1:],
        log_norms(mixture, dimension_scale),
        positive_BK,
        known_BK,
        anchors,
        _Settings(dimension_scale, temperature, weight_inside_log, max_labels),
    )
    return total


class _Settings(NamedTuple):
    dimension_scale: float
    temperature: float
    weight_inside_log: bool
    max_labels: int | None


class _ContrastiveLoss(Function):
    """The loss, and its derivative as a by-product: all that a row needs of the others is its own log-sum-exp.

    Rows are taken block by block, so that what is held of them fits a cache.
    """

    @staticmethod
    def forward(
        ctx: Any,
        means_BKCR: Tensor,
        variances_BKCR: Tensor,
        log_weights_BKC: Tensor,
        log_norms_KB: Tensor | None,
        positive_BK: Tensor,
        known_BK: Tensor,
        anchors: slice,
        settings: _Settings,
    ) -> Tensor:
        similarity = MixtureSimilarity(
            means_BKCR, variances_BKCR, log_weights_BKC, log_norms_KB, settings.dimension_scale
        )
        dtype, first = means_BKCR.dtype, anchors.start or 0
        num_anchors = len(range(len(positive_BK))[anchors])
        own_BK = positive_BK if num_anchors == len(positive_BK) else positive_BK[anchors]
        class_P, anchor_P, real_P, overflow = _find_rows(own_BK.T, settings.max_labels)
        positive_KB, known_KB = torch.stack((positive_BK.T, known_BK.T)).to(dtype).unbind()
        excluded_KB = (1.0 - known_KB).mul_(_EXCLUDED)
        jaccard_AB = _jaccard(positive_KB, known_KB, anchors)
        # |A(n)|: the norm of order 0 counts, in one pass, the samples that share a class.
        partners_A1 = torch.linalg.vector_norm(jaccard_AB, 0, 1, keepdim=True).clamp_(min=1.0)
        weights_AB = (jaccard_AB.sign() if settings.weight_inside_log else jaccard_AB) / partners_A1

        total: Tensor | None = None
        size = similarity.rows_per_block(len(positive_BK))
        for start in range(0, len(class_P), size):
            block = slice(start, start + size)
            classes, anchor = class_P[block], anchor_P[block]
            rows = Rows(anchor + first if first else anchor, classes)
            weights_PB = weights_AB.index_select(0, anchor).mul_(positive_KB.index_select(0, classes))
            if real_P is not None:
                weights_PB.mul_(real_P[block].unsqueeze(1))
            excluded_PB = excluded_KB.index_select(0, classes).scatter_(1, rows.sample_P.unsqueeze(1), _EXCLUDED)
            inside_PB = jaccard_AB.index_select(0, anchor) if settings.weight_inside_log else None
            value, slopes_PB = _log_ratios(
                similarity.log_similarity(rows), excluded_PB, weights_PB, inside_PB, settings.temperature
            )
            total = value if total is None else total.add_(value)
            if any(ctx.needs_input_grad):
                similarity.add_gradient(rows, slopes_PB)
        if total is None:
            total = means_BKCR.new_zeros(())
        if any(ctx.needs_input_grad):
            gradients = similarity.gradients(1.0 / settings.temperature)
            ctx.save_for_backward(*gradients)
        return total if overflow is None else torch.where(overflow, torch.nan, total)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        gradients = (None if part is None else part * grad for part in ctx.saved_tensors)
        return (*gradients, None, None, None, None)


def _log_ratios(
    log_rho_PB: Tensor, excluded_PB: Tensor, weights_PB: Tensor, inside_PB: Tensor | None, temperature: float
) -> tuple[Tensor, Tensor]:
    """Σ -w log(ratio), or Σ -w log(J·ratio + floor), with ratio_pj = exp(ρ_pj/τ) / Σ_i exp(ρ_pi/τ).

    Args:
        log_rho_PB: log ρ; overwritten.
        excluded_PB: 0, or a large negative number for samples that the sum leaves out.
        weights_PB: w.
        inside_PB: J, if it stands inside the logarithm; overwritten.
        temperature: τ.

    Returns:
        The sum, 0-dimensional, and τ times its derivative by log ρ.
    """
    rho_PB = log_rho_PB.exp_()
    log_ratio_PB = torch.add(excluded_PB, rho_PB, alpha=1.0 / temperature).log_softmax(1)
    if inside_PB is None:
        total = torch.dot(weights_PB.flatten(), log_ratio_PB.flatten()).neg_()
        ratio_PB = log_ratio_PB.exp_()
    else:
        ratio_PB = log_ratio_PB.exp_()
        weighted_PB = inside_PB.mul_(ratio_PB)
        floored_PB = weighted_PB + _RATIO_FLOOR
        total = torch.dot(weights_PB.flatten(), floored_PB.log().flatten()).neg_()
        weights_PB = weighted_PB.div_(floored_PB).mul_(weights_PB)
    return total, ratio_PB.mul_(weights_PB.sum(1, keepdim=True)).sub_(weights_PB).mul_(rho_PB)


def _find_rows(positive_KA: Tensor, max_labels: int | None) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """Class and anchor of each row, ordered by class; which rows are real; whether some did not fit."""
    if max_labels is None:
        class_P, anchor_P = positive_KA.nonzero(as_tuple=True)
        return class_P, anchor_P, None, None
    num_classes, num_anchors = positive_KA.shape
    size = min(max_labels, num_classes) * num_anchors
    class_P, anchor_P = positive_KA.nonzero_static(size=size, fill_value=0).unbind(1)
    count = positive_KA.sum()
    return class_P, anchor_P, torch.arange(size, device=positive_KA.device) < count, count > size


def _jaccard(positive_KB: Tensor, known_KB: Tensor, anchors: slice) -> Tensor:
    """J(n, j) of each anchor and sample over the classes known in both; 0 for a sample and itself."""
    positive_AK, known_AK = positive_KB.T[anchors], known_KB.T[anchors]
    intersection_AB = positive_AK @ positive_KB
    union_AB = torch.addmm(positive_AK @ known_KB, known_AK, positive_KB).sub_(intersection_AB)
    jaccard_AB = intersection_AB.div_(union_AB.clamp_(min=1.0))
    jaccard_AB.diagonal(anchors.start or 0).zero_()
    return jaccard_AB
