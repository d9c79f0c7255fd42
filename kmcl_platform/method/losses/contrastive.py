"""The contrastive loss over pairs of samples that share a positive class.

Shape suffixes: A anchors (this worker's samples), B batch (all samples that anchors are compared with), K classes,
C kernels per class, R values of one kernel's mean or variance, P rows (n, k): anchor n has the positive label k.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from kmcl_platform.method.kernels.mixture_head import KernelMixture
from kmcl_platform.method.kernels.rows import Rows
from kmcl_platform.method.kernels.similarity import MixtureSimilarity, log_norms

_RATIO_FLOOR = 1e-7
"""The constant that the released code adds inside its logarithm."""

_EXCLUDED = -1e30
"""Added to a value that a softmax leaves out. Finite, because -inf times a weight of 0 would be NaN."""


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
    """The contrastive loss, summed over the anchors (docs/method.md, Contrastive loss: B times its L).

    Only rows (n, k) with a positive label need a log-sum-exp, so the time is O(P·B·C²·R). A class that is unknown in
    either sample of a pair does not count in the pair's Jaccard weight. A sample whose class k is unknown is not in the
    denominators of class k.

    Args:
        mixture: kernels of the batch.
        positive_BK: bool, known positive elements.
        known_BK: bool, elements that count.
        dimension_scale: factor of the sum over a kernel's R values in the similarity (see `MixtureSimilarity`).
        temperature: τ > 0.
        anchors: the samples whose terms are summed. All samples are compared with them.
        weight_inside_log: the released formula, -log(J·ratio + 1e-7), instead of -J·log(ratio).
        max_labels: an upper bound on positive labels per sample. With it the number of rows is known in advance, so
            the host never waits for the device; the result is NaN if a batch exceeds the bound. None: the rows are
            counted, and the host waits for the count.

    Returns:
        0-dimensional. 0, still part of the gradient graph, if no anchor shares a positive class with another sample.
    """
    total: Tensor = _ContrastiveLoss.apply(
        *mixture[1:],
        # The norms depend on the kernels too. They are computed outside, so that autograd takes that part of the
        # gradient.
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
    """The loss of all rows, and its gradient, both formed in the forward pass.

    A row's loss and its derivative need the row's own log-sum-exp and nothing of other rows. So rows are processed in
    blocks that fit in a cache, each with its derivative, and no P x B tensor of a whole batch exists at any time.
    Backward only multiplies the finished gradients by the gradient of the sum.
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
        # Rows exist only for this worker's samples; the columns j are the samples of all workers.
        own_BK = positive_BK if num_anchors == len(positive_BK) else positive_BK[anchors]
        # Classes first, so that rows of one class are neighbours and read the same kernels of all samples.
        class_P, anchor_P, real_P, overflow = _find_rows(own_BK.T, settings.max_labels)
        positive_KB, known_KB = torch.stack((positive_BK.T, known_BK.T)).to(dtype).unbind()
        # 0 for a known label, -1e30 for an unknown one: added to ρ/τ it leaves the sample out of a denominator.
        excluded_KB = (1.0 - known_KB).mul_(_EXCLUDED)
        jaccard_AB = _jaccard(positive_KB, known_KB, anchors)
        # |A(n)|, the number of samples with J > 0. The norm of order 0 counts them in one pass without a mask.
        partners_A1 = torch.linalg.vector_norm(jaccard_AB, 0, 1, keepdim=True).clamp_(min=1.0)
        # The weight of a pair outside the logarithm: J / |A(n)|, or 1 / |A(n)| where J is inside it.
        weights_AB = (jaccard_AB.sign() if settings.weight_inside_log else jaccard_AB) / partners_A1

        total: Tensor | None = None
        for block, classes in similarity.row_blocks(class_P, may_wait=settings.max_labels is None):
            own_classes, anchor = class_P[block], anchor_P[block]
            # `anchor` counts this worker's samples. In the global batch they begin at `first`.
            rows = Rows(anchor + first if first else anchor, own_classes, classes)
            # Row (n, k) has a term for each partner j that also has the label k.
            weights_PB = weights_AB.index_select(0, anchor).mul_(positive_KB.index_select(0, own_classes))
            if real_P is not None:
                # Rows that only fill the static number of rows get weight 0.
                weights_PB.mul_(real_P[block].unsqueeze(1))
            # The denominator leaves out the anchor itself (i ≠ n) and samples whose class k is unknown.
            excluded_PB = excluded_KB.index_select(0, own_classes).scatter_(1, rows.sample_P.unsqueeze(1), _EXCLUDED)
            inside_PB = jaccard_AB.index_select(0, anchor) if settings.weight_inside_log else None
            value, slopes_PB = _log_ratios(
                similarity.log_similarity(rows), excluded_PB, weights_PB, inside_PB, settings.temperature
            )
            total = value if total is None else total.add_(value)
            if any(ctx.needs_input_grad):
                similarity.add_gradient(rows, slopes_PB)
        if total is None:
            # The batch has no positive label. The output of a Function keeps its graph also for this constant.
            total = means_BKCR.new_zeros(())
        if any(ctx.needs_input_grad):
            # `_log_ratios` leaves out the factor 1/τ; here it is applied to B x K x C x R values instead of P x B.
            gradients = similarity.gradients(1.0 / settings.temperature)
            ctx.save_for_backward(*gradients)
        # Raising an error would need the value of `overflow` on the host, which would have to wait for the device.
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

    The derivative of log(ratio_pj) by ρ_pi/τ is [i = j] - ratio_pi. With weights w' this gives, for a row,

        ∂L/∂(ρ_pi/τ) = ratio_pi · Σ_j w'_pj - w'_pi        and ∂ρ/∂log ρ = ρ,

    where w' = w for the first form and w' = w · J·ratio / (J·ratio + floor) for the second.

    Args:
        log_rho_PB: log ρ; overwritten.
        excluded_PB: 0, or a large negative number for samples that the denominator leaves out.
        weights_PB: w.
        inside_PB: J, if it is inside the logarithm; overwritten. None: the first form.
        temperature: τ.

    Returns:
        The sum, 0-dimensional, and τ times its derivative by log ρ, (P, B).
    """
    rho_PB = log_rho_PB.exp_()
    # A row that leaves out all samples (a batch of one) gets finite, equal ratios, and all its weights are 0.
    log_ratio_PB = torch.add(excluded_PB, rho_PB, alpha=1.0 / temperature).log_softmax(1)
    if inside_PB is None:
        total = torch.dot(weights_PB.flatten(), log_ratio_PB.flatten()).neg_()
        ratio_PB = log_ratio_PB.exp_()
    else:
        ratio_PB = log_ratio_PB.exp_()
        weighted_PB = inside_PB.mul_(ratio_PB)
        floored_PB = weighted_PB + _RATIO_FLOOR
        total = torch.dot(weights_PB.flatten(), floored_PB.log().flatten()).neg_()
        # w' of the docstring: the derivative of log(J·ratio + floor) by log(ratio) is J·ratio / (J·ratio + floor).
        weights_PB = weighted_PB.div_(floored_PB).mul_(weights_PB)
    return total, ratio_PB.mul_(weights_PB.sum(1, keepdim=True)).sub_(weights_PB).mul_(rho_PB)


def _find_rows(positive_KA: Tensor, max_labels: int | None) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """The positions of the positive labels.

    Args:
        positive_KA: bool, the anchors' positive labels.
        max_labels: as for `contrastive_loss`.

    Returns:
        The class and the anchor of each row, ordered by class. With a bound, also whether each row is real (the others
        are fill, at class 0 and anchor 0), and whether the labels exceed the bound; else None, None.
    """
    if max_labels is None:
        class_P, anchor_P = positive_KA.nonzero(as_tuple=True)
        return class_P, anchor_P, None, None
    num_classes, num_anchors = positive_KA.shape
    size = min(max_labels, num_classes) * num_anchors
    # nonzero_static has a result of fixed size: unlike nonzero, it does not make the host wait for the number.
    class_P, anchor_P = positive_KA.nonzero_static(size=size, fill_value=0).unbind(1)
    count = positive_KA.sum()
    return class_P, anchor_P, torch.arange(size, device=positive_KA.device) < count, count > size


def _jaccard(positive_KB: Tensor, known_KB: Tensor, anchors: slice) -> Tensor:
    """J(n, j) of each anchor and sample over the classes that are known in both; 0 for a sample and itself.

    Matrix products of 0/1 matrices count classes: |Y_n ∩ Y_j| = y_n·y_j, and, over classes known in both,
    |Y_n ∪ Y_j| = y_n·m_j + m_n·y_j - y_n·y_j (a positive label is always a known one).
    """
    positive_AK, known_AK = positive_KB.T[anchors], known_KB.T[anchors]
    intersection_AB = positive_AK @ positive_KB
    union_AB = torch.addmm(positive_AK @ known_KB, known_AK, positive_KB).sub_(intersection_AB)
    # Without a positive label on either side both counts are 0: the clamp makes 0/1 of 0/0.
    jaccard_AB = intersection_AB.div_(union_AB.clamp_(min=1.0))
    # Anchor n is column start + n: the diagonal that begins at column `start` holds the pairs of a sample with itself.
    jaccard_AB.diagonal(anchors.start or 0).zero_()
    return jaccard_AB
