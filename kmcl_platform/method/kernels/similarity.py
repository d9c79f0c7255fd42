"""Similarities between the mixtures of different samples, in log space.

They have explicit derivatives. Autograd would keep every intermediate tensor of a chain of small operations, and start
one operation for each of them, which takes several times the memory and the time of the formula itself.

Shape suffixes: B batch, K classes, C kernels per class, R values of one kernel's mean or variance (1 or D),
P rows (n, k) with a positive label, S pairs c < c' of a class's kernels; small r: the R values of one block.
"""

import math

import torch
from torch import Tensor

from kmcl_platform.method.kernels.bhattacharyya import PairLogRho, log_rho, slopes
from kmcl_platform.method.kernels.mixture_head import KernelMixture
from kmcl_platform.method.kernels.rows import Rows, flat_index, flatten_rows

_BLOCK_ELEMENTS = 2**18
"""Elements of a pairwise quantity in one block on a CPU: 1 MB in float32, which fits in its cache."""

_BLOCK_ELEMENTS_ON_ACCELERATORS = 2**26
"""The same on a GPU: 256 MB. There the memory is the limit, and fewer blocks mean fewer kernel launches."""

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
        # The samples are the last dimension, so elementwise operations and sums over C and R read long contiguous rows.
        self._kernels_2RCKB = torch.stack((means_BKCR.permute(3, 2, 1, 0), variances_BKCR.permute(3, 2, 1, 0)))
        self._log_weights_CKB = None if log_norms_KB is None else log_weights_BKC.permute(2, 1, 0).contiguous()
        self._log_norms_KB = log_norms_KB
        self._scale = dimension_scale
        # From log_similarity to add_gradient of the same rows: the blocks of R, what `slopes` needs, and the share of
        # each pair of components (c of the row, c' of sample j) in the inner product.
        self._blocks: list[slice] = []
        self._kept: tuple[Tensor, ...] = ()
        self._shares_CCPB: Tensor | None = None
        # Sums over all rows so far: `slopes` for each kernel, and the gradients of log weights and log norms.
        self._slopes_3RCKB: Tensor | None = None
        self._grad_weights_CKB: Tensor | None = None
        self._grad_norms_KB: Tensor | None = None

    def rows_per_block(self, batch_size: int) -> int:
        """How many rows to process together: as many as fit in a block with one of a kernel's R values."""
        return max(1, _limit(self._kernels_2RCKB.device) // (batch_size * self._kernels_2RCKB.shape[2] ** 2))

    def log_similarity(self, rows: Rows) -> Tensor:
        """Return log_rho_PB, at most 0 (to rounding), and 0 where j = n."""
        _, num_values, num_components, _, batch_size = self._kernels_2RCKB.shape
        row_P = flat_index(rows, batch_size)
        per_value = max(1, num_components**2 * len(row_P) * batch_size)
        size = max(1, _limit(row_P.device) // per_value)
        # With R = D even a few rows exceed a block, so the sum over R is taken block by block too.
        self._blocks = [slice(start, start + size) for start in range(0, num_values, size)]
        log_rho_CCPB, *kept = self._bhattacharyya(self._blocks[0], row_P, rows.class_P)
        for block in self._blocks[1:]:
            # In place is safe here and below: the derivative needs the differences, not log ρ itself.
            log_rho_CCPB += self._bhattacharyya(block, row_P, rows.class_P)[0]
        # With several blocks the differences are computed again in add_gradient: keeping them would need O(P·B·R).
        self._kept = tuple(kept) if len(self._blocks) == 1 else ()
        if self._log_weights_CKB is None or self._log_norms_KB is None:
            # One component: its weight cancels in the cosine, and both norms are 1.
            return log_rho_CCPB.flatten(0, 2)
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
        _, num_values, num_components, num_classes, batch_size = self._kernels_2RCKB.shape
        row_P = flat_index(rows, batch_size)
        if self._slopes_3RCKB is None:
            self._slopes_3RCKB = grad_PB.new_zeros((3, num_values, num_components, num_classes, batch_size))
        grad_CCPB = grad_PB
        if self._shares_CCPB is not None:
            grad_CCPB = self._shares_CCPB.mul_(grad_PB)
            self._add_weight_gradients(rows, row_P, grad_CCPB, grad_PB)
        for block in self._blocks:
            kept = self._kept or self._bhattacharyya(block, row_P, rows.class_P)[1:]
            slopes_3rCCPB = slopes(kept[0], kept[1], grad_CCPB)
            # A view: `index_add_` below writes into the sums of all rows.
            sums_3rCKB = self._slopes_3RCKB[:, block]
            # Each pair (row's kernel, sample j's kernel) adds to both of its ends. The sample's end first: summed over
            # the row's components, then added to class k of every sample.
            columns = slopes_3rCCPB.squeeze(2) if num_components == 1 else slopes_3rCCPB.sum(2)
            sums_3rCKB.index_add_(3, rows.class_P, columns)
            # The row's end: summed over the samples and their components. The differences μ - μ' and v - v' change
            # sign between the two ends of a pair; the third part, a square, does not.
            own_3rCP = slopes_3rCCPB.sum((3, 5))
            own_3rCP[:2].neg_()
            flatten_rows(sums_3rCKB).index_add_(3, row_P, own_3rCP)
        self._kept, self._shares_CCPB = (), None

    def gradients(self, factor: float) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """The gradients of means_BKCR, variances_BKCR, log_weights_BKC and log_norms_KB, times a factor.

        Call it once, at the end: it overwrites the sums. None: there are no such inputs (C = 1).
        """
        if self._slopes_3RCKB is None:
            self._slopes_3RCKB = self._kernels_2RCKB.new_zeros((3, *self._kernels_2RCKB.shape[1:]))
        mean, relative, shared = self._slopes_3RCKB.unbind()
        # The formulas of `slopes` for the right Gaussian; the left one's signs were applied in add_gradient. The
        # division by a kernel's own variance is the same for all its pairs, so it is applied to their sum.
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
        """`log_rho` of the rows' kernels, (2, r, C, 1, P, 1), and class k's of every sample, (2, r, 1, C, P, B)."""
        kernels_2rCKB = self._kernels_2RCKB if len(self._blocks) == 1 else self._kernels_2RCKB[:, block]
        rows_2rCP = flatten_rows(kernels_2rCKB).index_select(3, row_P)
        columns_2rCPB = kernels_2rCKB.index_select(3, class_P)
        return log_rho(rows_2rCP[:, :, :, None, :, None], columns_2rCPB.unsqueeze(2), self._scale)

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
    kernels_2RCKB = torch.stack((mixture.means_BKCR, mixture.variances_BKCR)).permute(0, 4, 3, 2, 1)
    log_weights_CKB = mixture.log_weights_BKC.permute(2, 1, 0)
    # ρ(c, c) = 1 and ρ is symmetric: only the C(C - 1)/2 pairs c < c' are computed, and each counts twice (log 2).
    first, second = torch.triu_indices(num_components, num_components, 1, device=kernels_2RCKB.device)
    log_rho_SKB: Tensor = PairLogRho.apply(
        kernels_2RCKB.index_select(2, first), kernels_2RCKB.index_select(2, second), dimension_scale
    )
    # The terms of c = c' are α_c² ρ(c, c) = α_c², with the logarithm 2 log α_c.
    log_crossed_SKB = log_rho_SKB + log_weights_CKB.index_select(0, first) + log_weights_CKB.index_select(0, second)
    return 0.5 * torch.cat((2.0 * log_weights_CKB, log_crossed_SKB + _LOG_2)).logsumexp(0)


def _limit(device: torch.device) -> int:
    return _BLOCK_ELEMENTS if device.type == "cpu" else _BLOCK_ELEMENTS_ON_ACCELERATORS
