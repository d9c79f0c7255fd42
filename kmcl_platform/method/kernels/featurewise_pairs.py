"""Similarities of pairs of kernels that have a mean and a variance for each feature (R = D), with their derivative.

A pair has R terms, so the time is that of the passes over P·B·C²·R numbers. Each formula here is written with as few
passes as possible, over blocks that stay in a cache.

Shape suffixes: B batch, K classes, C kernels per class, R values of one kernel's mean or variance, P rows (n, k) with a
positive label; Q = P·C kernels of rows; q those of one block; M = C·B kernels of a class in all samples.
"""

from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor

from kmcl_platform.method.kernels.featurewise_terms import (
    BLOCK_ELEMENTS,
    Gaussians,
    finish_gradients,
    group_values,
    pair_slopes,
    pair_terms,
)
from kmcl_platform.method.kernels.rows import ClassRows, Rows, block_limit


class FeaturewisePairs:
    """log ρ of single Gaussians: each row's kernels with those of the row's class in all samples.

    Args:
        means_BKCR: μ.
        variances_BKCR: v.
        scale: factor of the sum over the R values of a pair.
    """

    def __init__(self, means_BKCR: Tensor, variances_BKCR: Tensor, scale: float) -> None:
        self._variances_BKCR = variances_BKCR
        self._scale = scale
        self._shape = means_BKCR.shape[:3]
        self._kernels_BKC = group_values(means_BKCR, variances_BKCR)
        # The samples' ends of pairs are those of one class. This is a view.
        self._classes_KCB = Gaussians(*(part.permute(1, 2, 0, 3) for part in self._kernels_BKC))
        # Sums over all pairs of a kernel, times the gradient: of the two results of `pair_slopes`, and of 1.
        self._slopes_BKCR = torch.zeros_like(self._kernels_BKC.means_R, memory_format=torch.contiguous_format)
        self._curves_BKCR = torch.zeros_like(self._slopes_BKCR)
        self._grads_BKC = means_BKCR.new_zeros(self._shape)

    def row_blocks(self, class_P: Tensor, *, may_wait: bool) -> Iterator[tuple[slice, ClassRows | None]]:
        """Rows to process together, and how many each class has, if the host knows it.

        Args:
            class_P: of all rows, ascending.
            may_wait: the host may wait for the device.
        """
        batch_size, num_classes, num_components = self._shape
        limit = block_limit(class_P.device) // (batch_size * num_components**2)
        if not may_wait or class_P.device.type != "cpu":
            # Each row has its own copy of the kernels at its other end.
            size = max(1, limit // self._slopes_BKCR.shape[3])
            for start in range(0, len(class_P), size):
                yield slice(start, start + size), None
            return
        # The rows of one class have the same kernels at their other end, which are then read in place.
        start = stop = 0
        held: ClassRows = []
        for number, count in enumerate(torch.bincount(class_P, minlength=num_classes).tolist()):
            if held and stop + count - start > limit:
                yield slice(start, stop), held
                start, held = stop, []
            if count:
                held.append((number, count))
                stop += count
        if held:
            yield slice(start, stop), held

    def log_rho(self, rows: Rows) -> Tensor:
        """log_rho_CCPB: the first C belongs to the row, the second to sample j."""
        batch_size, _, num_components = self._shape
        own_Q1 = self._own(rows)
        total_QM = own_Q1.means_R.new_empty((len(own_Q1.means_R), num_components * batch_size))
        for block, _, others in self._blocks(rows):
            total_QM[block] = pair_terms(own_Q1.part(block), others)
        total_PCCB = total_QM.mul_(-self._scale).view(-1, num_components, num_components, batch_size)
        return total_PCCB.permute(1, 2, 0, 3).contiguous()

    def add_gradient(self, rows: Rows, grad_CCPB: Tensor) -> None:
        """Add the gradient of these rows, which are those of the last `log_rho`.

        Args:
            rows: the rows.
            grad_CCPB: the derivative of the loss by their log ρ.
        """
        batch_size, _, num_components = self._shape
        grad_PCCB = grad_CCPB.permute(2, 0, 1, 3)
        grad_QM, own_Q1 = grad_PCCB.flatten(0, 1).flatten(1), self._own(rows)
        own_slopes_QR, own_curves_QR = own_Q1.means_R.new_empty((2, len(grad_QM), self._slopes_BKCR.shape[3]))
        for block, number, others in self._blocks(rows):
            pairs = pair_slopes(own_Q1.part(block), others, grad_QM[block])
            for sums_BKCR, own_QR, pairs_qMR in zip(
                (self._slopes_BKCR, self._curves_BKCR), (own_slopes_QR, own_curves_QR), pairs, strict=True
            ):
                torch.sum(pairs_qMR, 1, out=own_QR[block])
                if number is not None:
                    sums_CBR = pairs_qMR.sum(0).unflatten(0, (num_components, batch_size))
                    sums_BKCR[:, number] += sums_CBR.transpose(0, 1)
                else:
                    sums_PMR = pairs_qMR if num_components == 1 else pairs_qMR.unflatten(0, (-1, num_components)).sum(1)
                    sums_PCBR = sums_PMR.unflatten(1, (num_components, batch_size))
                    sums_BKCR.permute(1, 2, 0, 3).index_add_(0, rows.class_P, sums_PCBR)
        self._grads_BKC.permute(1, 2, 0).index_add_(0, rows.class_P, grad_PCCB.sum(1))
        place_P = self._places(rows)
        # The difference μ - μ' changes its sign between the two ends of a pair.
        for sums, own_Q, sign in (
            (self._slopes_BKCR, own_slopes_QR, -1.0),
            (self._curves_BKCR, own_curves_QR, 1.0),
            (self._grads_BKC, grad_QM.sum(1), 1.0),
        ):
            sums.flatten(0, 1).index_add_(0, place_P, own_Q.unflatten(0, (-1, num_components)), alpha=sign)

    def gradients(self, factor: float) -> tuple[Tensor, Tensor]:
        """The gradients of means_BKCR and variances_BKCR, times a factor. Call it once, at the end."""
        return finish_gradients(
            self._slopes_BKCR, self._curves_BKCR, self._grads_BKC, self._variances_BKCR, self._scale * factor
        )

    def _places(self, rows: Rows) -> Tensor:
        """The place of each row's kernels in a (B, K) tensor that was flattened: place_P."""
        return torch.add(rows.class_P, rows.sample_P, alpha=self._shape[1])

    def _own(self, rows: Rows) -> Gaussians:
        """The kernels of the rows, (Q, 1, R)."""
        place_P = self._places(rows)
        selected = (part.flatten(0, 1).index_select(0, place_P) for part in self._kernels_BKC)
        return Gaussians(*(part.flatten(0, 1).unsqueeze(1) for part in selected))

    def _blocks(self, rows: Rows) -> Iterator[tuple[slice, int | None, Gaussians]]:
        """Parts of the Q kernels of the rows, and their other ends.

        With the number of their class where it is known; the other ends are then (M, R), else (q, M, R).
        """
        num_components = self._shape[2]
        if rows.classes is None:
            class_Q = rows.class_P.repeat_interleave(num_components)
            own_classes = (part.index_select(0, class_Q).flatten(1, 2) for part in self._classes_KCB)
            yield slice(0, len(class_Q)), None, Gaussians(*own_classes)
            return
        limit = block_limit(rows.class_P.device, BLOCK_ELEMENTS)
        size = max(1, limit // (num_components * self._slopes_BKCR[:, 0, 0].numel()))
        start = 0
        for number, count in rows.classes:
            stop = start + count * num_components
            others = Gaussians(*(part[number].flatten(0, 1) for part in self._classes_KCB))
            for first, last in pairwise([*range(start, stop, size), stop]):
                yield slice(first, last), number, others
            start = stop
