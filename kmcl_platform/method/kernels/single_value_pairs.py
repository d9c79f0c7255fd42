"""Similarities of pairs of kernels that have one mean and one variance for all features (R = 1), with their derivative.

A pair has one term, which is exact also where two kernels nearly agree (`bhattacharyya.py`).

Shape suffixes: B batch, K classes, C kernels per class, P rows (n, k) with a positive label.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from kmcl_platform.method.kernels.bhattacharyya import log_rho, slopes
from kmcl_platform.method.kernels.rows import ClassRows, Rows, block_limit, flat_index, flatten_rows


class SingleValuePairs:
    """log ρ of single Gaussians: each row's kernels with those of the row's class in all samples.

    Args:
        means_BKC1: μ.
        variances_BKC1: v.
        scale: factor of the term of a pair.
    """

    def __init__(self, means_BKC1: Tensor, variances_BKC1: Tensor, scale: float) -> None:
        # The samples are the last dimension, so elementwise operations and sums over C read long contiguous rows.
        self._kernels_21CKB = torch.stack((means_BKC1.permute(3, 2, 1, 0), variances_BKC1.permute(3, 2, 1, 0)))
        self._scale = scale
        # From `log_rho` to `add_gradient` of the same rows: what `slopes` needs.
        self._kept: tuple[Tensor, Tensor] | None = None
        # Sums of `slopes` for each kernel, over all rows so far.
        self._slopes_31CKB = self._kernels_21CKB.new_zeros((3, *self._kernels_21CKB.shape[1:]))

    def row_blocks(self, class_P: Tensor, *, may_wait: bool) -> Iterator[tuple[slice, ClassRows | None]]:
        """As `FeaturewisePairs.row_blocks`. The classes are not used here."""
        _, _, num_components, _, batch_size = self._kernels_21CKB.shape
        size = max(1, block_limit(class_P.device) // (batch_size * num_components**2))
        for start in range(0, len(class_P), size):
            yield slice(start, start + size), None

    def log_rho(self, rows: Rows) -> Tensor:
        """log_rho_CCPB: the first C belongs to the row, the second to sample j."""
        row_P = flat_index(rows, self._kernels_21CKB.shape[4])
        rows_21CP = flatten_rows(self._kernels_21CKB).index_select(3, row_P)
        columns_21CPB = self._kernels_21CKB.index_select(3, rows.class_P)
        found, *kept = log_rho(rows_21CP[:, :, :, None, :, None], columns_21CPB.unsqueeze(2), self._scale)
        self._kept = (kept[0], kept[1])
        return found

    def add_gradient(self, rows: Rows, grad_CCPB: Tensor) -> None:
        """As `FeaturewisePairs.add_gradient`."""
        assert self._kept is not None, "`log_rho` comes first"
        _, _, num_components, _, batch_size = self._kernels_21CKB.shape
        slopes_31CCPB = slopes(*self._kept, grad_CCPB)
        self._kept = None
        # Each pair (row's kernel, sample j's kernel) adds to both of its ends. The sample's end first: summed over the
        # row's components, then added to class k of every sample.
        columns = slopes_31CCPB.squeeze(2) if num_components == 1 else slopes_31CCPB.sum(2)
        self._slopes_31CKB.index_add_(3, rows.class_P, columns)
        # The row's end: summed over the samples and their components. The differences μ - μ' and v - v' change sign
        # between the two ends of a pair; the third part, a square, does not.
        own_31CP = slopes_31CCPB.sum((3, 5))
        own_31CP[:2].neg_()
        flatten_rows(self._slopes_31CKB).index_add_(3, flat_index(rows, batch_size), own_31CP)

    def gradients(self, factor: float) -> tuple[Tensor, Tensor]:
        """As `FeaturewisePairs.gradients`."""
        mean, relative, shared = self._slopes_31CKB.unbind()
        # The formulas of `slopes` for the right Gaussian; the left one's signs were applied in `add_gradient`. The
        # division by a kernel's own variance is the same for all its pairs, so it is applied to their sum.
        grad_means = mean.mul_(0.5 * self._scale * factor)
        grad_variances = relative.div_(self._kernels_21CKB[1]).add_(shared).mul_(0.25 * self._scale * factor)
        return grad_means.permute(3, 2, 1, 0), grad_variances.permute(3, 2, 1, 0)
