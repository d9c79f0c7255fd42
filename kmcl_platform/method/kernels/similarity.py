"""Similarities between the mixtures of different samples, in log space.

They have explicit derivatives. Autograd would keep every intermediate tensor of a chain of small operations, and start
one operation for each of them, which takes several times the memory and the time of the formula itself.

Shape suffixes: B batch, K classes, C kernels per class, R values of one kernel's mean or variance (1 or D),
P rows (n, k) with a positive label, S pairs c < c' of a class's kernels.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from kmcl_platform.method.kernels.bhattacharyya import PairLogRho
from kmcl_platform.method.kernels.featurewise_pairs import FeaturewisePairs
from kmcl_platform.method.kernels.featurewise_terms import ComponentLogRho
from kmcl_platform.method.kernels.mixture_head import KernelMixture
from kmcl_platform.method.kernels.rows import ClassRows, Rows, flat_index
from kmcl_platform.method.kernels.single_value_pairs import SingleValuePairs

_LOG_2 = math.log(2.0)


class MixtureSimilarity:
    """Log similarity log ρ_k(n, j) of rows (n, k) to all samples j, and its derivative.

    C = 1: the Bhattacharyya coefficient of class k's Gaussians in samples n and j. C > 1: the cosine of the two
    mixtures in the reproducing-kernel Hilbert space where components have that coefficient as inner product
    (docs/method.md, Contrastive loss). Cost: O(P·B·C²·R) time; at most one block of pairwise values in memory.

    The derivative is explicit, so that rows can be processed in blocks. Call `log_similarity` for some rows, then
    `add_gradient` for the same rows, and so on; `gradients` then returns the sum over all of them.

    Args:
        means_BKCR: μ.
        variances_BKCR: v.
        log_weights_BKC: log α.
        log_norms_KB: what `log_norms` returns. None for C = 1, where they are 0.
        dimension_scale: factor of the sum over the R values of a kernel. D/R is the formula of docs/method.md.
    """

    def __init__(
        self,
        means_BKCR: Tensor,
        variances_BKCR: Tensor,
        log_weights_BKC: Tensor,
        log_norms_KB: Tensor | None,
        dimension_scale: float,
    ) -> None:
        pairs = SingleValuePairs if means_BKCR.shape[3] == 1 else FeaturewisePairs
        self._pairs: SingleValuePairs | FeaturewisePairs = pairs(means_BKCR, variances_BKCR, dimension_scale)
        self._batch_size = len(means_BKCR)
        self._log_weights_CKB = None if log_norms_KB is None else log_weights_BKC.permute(2, 1, 0).contiguous()
        self._log_norms_KB = log_norms_KB
        # From log_similarity to add_gradient of the same rows: the share of each pair of components (c of the row, c'
        # of sample j) in the inner product.
        self._shares_CCPB: Tensor | None = None
        # Sums over all rows so far: the gradients of log weights and log norms.
        self._grad_weights_CKB: Tensor | None = None
        self._grad_norms_KB: Tensor | None = None

    def row_blocks(self, class_P: Tensor, *, may_wait: bool) -> Iterator[tuple[slice, ClassRows | None]]:
        """Rows to process together, and how many each class has, if the host knows it.

        Args:
            class_P: of all rows, ascending.
            may_wait: the host may wait for the device.
        """
        return self._pairs.row_blocks(class_P, may_wait=may_wait)

    def log_similarity(self, rows: Rows) -> Tensor:
        """Return log_rho_PB, at most 0 (to rounding), and 0 where j = n."""
        log_rho_CCPB = self._pairs.log_rho(rows)
        if self._log_weights_CKB is None or self._log_norms_KB is None:
            # One component: its weight cancels in the cosine, and both norms are 1.
            return log_rho_CCPB.flatten(0, 2)
        row_P = flat_index(rows, self._batch_size)
        # log of α_c α_c' ρ(c, c'): the first C belongs to the row, the second to sample j.
        log_rho_CCPB += self._log_weights_CKB.flatten(1).index_select(1, row_P)[:, None, :, None]
        log_rho_CCPB += self._log_weights_CKB.index_select(1, rows.class_P)
        log_product_PB = log_rho_CCPB.flatten(0, 1).logsumexp(0)
        # ∂ log Σ e^x / ∂x is the softmax of x: the factor with which each pair of components receives the gradient.
        self._shares_CCPB = log_rho_CCPB.sub_(log_product_PB).exp_()
        log_product_PB -= self._log_norms_KB.flatten().index_select(0, row_P).unsqueeze(1)
        return log_product_PB.sub_(self._log_norms_KB.index_select(0, rows.class_P))

    def add_gradient(self, rows: Rows, grad_PB: Tensor) -> None:
        """Add the gradient of these rows.

        Args:
            rows: those of the last call of `log_similarity`.
            grad_PB: the derivative of the loss by their log ρ.
        """
        grad_CCPB = grad_PB
        if self._shares_CCPB is not None:
            grad_CCPB = self._shares_CCPB.mul_(grad_PB)
            self._add_weight_gradients(rows, flat_index(rows, self._batch_size), grad_CCPB, grad_PB)
            self._shares_CCPB = None
        self._pairs.add_gradient(rows, grad_CCPB.expand(1, 1, -1, -1) if grad_CCPB.ndim == 2 else grad_CCPB)

    def gradients(self, factor: float) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """The gradients of means_BKCR, variances_BKCR, log_weights_BKC and log_norms_KB, times a factor.

        Call it once, at the end: it overwrites the sums. None: there are no such inputs (C = 1).
        """
        grad_means, grad_variances = self._pairs.gradients(factor)
        weights, norms = self._grad_weights_CKB, self._grad_norms_KB
        return (
            grad_means,
            grad_variances,
            None if weights is None else weights.mul_(factor).permute(2, 1, 0),
            None if norms is None else norms.mul_(factor),
        )

    def _add_weight_gradients(self, rows: Rows, row_P: Tensor, grad_CCPB: Tensor, grad_PB: Tensor) -> None:
        """Add the gradients of log α and of the log norms; each pair of samples adds to both of its ends."""
        assert self._log_weights_CKB is not None and self._log_norms_KB is not None
        if self._grad_weights_CKB is None or self._grad_norms_KB is None:
            self._grad_weights_CKB = torch.zeros_like(self._log_weights_CKB)
            self._grad_norms_KB = torch.zeros_like(self._log_norms_KB)
        self._grad_weights_CKB.index_add_(1, rows.class_P, grad_CCPB.sum(0))
        self._grad_weights_CKB.flatten(1).index_add_(1, row_P, grad_CCPB.sum((1, 3)))
        # log ρ contains -(log norm of n) - (log norm of j), hence the factor -1.
        self._grad_norms_KB.index_add_(0, rows.class_P, grad_PB, alpha=-1.0)
        self._grad_norms_KB.flatten().index_add_(0, row_P, grad_PB.sum(1), alpha=-1.0)


def log_norms(mixture: KernelMixture, dimension_scale: float) -> Tensor | None:
    """Log of the norm of every mixture: half the log of <p, p> = Σ_cc' α_c α_c' ρ(c, c').

    Args:
        mixture: kernels of the batch.
        dimension_scale: as for `MixtureSimilarity`.

    Returns:
        log_norms_KB. None for C = 1, where they are 0.
    """
    num_components = mixture.means_BKCR.shape[2]
    if num_components == 1:
        return None
    log_weights_CKB = mixture.log_weights_BKC.permute(2, 1, 0)
    # ρ(c, c) = 1 and ρ is symmetric: only the C(C - 1)/2 pairs c < c' are computed, and each counts twice (log 2).
    first, second = torch.triu_indices(num_components, num_components, 1, device=log_weights_CKB.device)
    log_rho_SKB: Tensor
    if mixture.means_BKCR.shape[3] == 1:
        kernels_21CKB = torch.stack((mixture.means_BKCR, mixture.variances_BKCR)).permute(0, 4, 3, 2, 1)
        ends = (kernels_21CKB.index_select(2, first), kernels_21CKB.index_select(2, second))
        log_rho_SKB = PairLogRho.apply(*ends, dimension_scale)
    else:
        log_rho_SKB = ComponentLogRho.apply(mixture.means_BKCR, mixture.variances_BKCR, dimension_scale)
    # The terms of c = c' are α_c² ρ(c, c) = α_c², with the logarithm 2 log α_c.
    log_crossed_SKB = log_rho_SKB + log_weights_CKB.index_select(0, first) + log_weights_CKB.index_select(0, second)
    return 0.5 * torch.cat((2.0 * log_weights_CKB, log_crossed_SKB + _LOG_2)).logsumexp(0)
