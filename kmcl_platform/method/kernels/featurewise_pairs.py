"""Similarities of pairs of kernels that have a mean and a variance for each feature (R = D), with their derivative.

A pair has R terms, so the time is that of the passes over P·B·C²·R numbers. Each formula here is written with as few
passes as possible, over blocks that stay in a cache.

Shape suffixes: B batch, K classes, C kernels per class, R values of one kernel's mean or variance, P rows (n, k) with a
positive label; small r: the R values of one block; G groups of R values; Q = P·C kernels of rows; M = C·B kernels of
the samples.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from kmcl_platform.method.kernels.featurewise_terms import GROUP, FeaturewiseKernels, pair_slopes, pair_terms
from kmcl_platform.method.kernels.rows import Rows, block_limit


class FeaturewisePairs:
    """log ρ of single Gaussians: each row's kernels with those of the row's class in all samples.

    Args:
        means_BKCR: μ.
        variances_BKCR: v.
        scale: factor of the sum over the R values of a pair.
    """

    def __init__(self, means_BKCR: Tensor, variances_BKCR: Tensor, scale: float) -> None:
        self._kernels = FeaturewiseKernels(means_BKCR, variances_BKCR)
        _, num_values, *self._shape = self._kernels.values_2RKCB.shape
        self._scale = scale
        self._blocks: list[slice] = []
        # 1 / (v + v') and its product with μ - μ' of the rows of the last `log_rho`, if they are one block.
        self._kept: tuple[Tensor, Tensor] | None = None
        # Sums over all pairs of a kernel, times the gradient: of the two results of `pair_slopes`, and of 1.
        self._sums_2RKCB = means_BKCR.new_zeros((2, num_values, *self._shape))
        self._grads_KCB = means_BKCR.new_zeros(self._shape)

    def row_blocks(self, class_P: Tensor, *, may_wait: bool) -> Iterator[tuple[slice, int | None]]:
        """Rows to process together, and their class if it is known to be one.

        Args:
            class_P: of all rows, ascending.
            may_wait: the host may wait for the device.
        """
        num_classes, num_components, batch_size = self._shape
        size = max(1, block_limit(class_P.device) // (batch_size * num_components**2 * GROUP))
        if not may_wait or class_P.device.type != "cpu":
            for start in range(0, len(class_P), size):
                yield slice(start, start + size), None
            return
        # The rows of one class have the same kernels at their other end, which are then read in place.
        start = 0
        for number, count in enumerate(torch.bincount(class_P, minlength=num_classes).tolist()):
            for first in range(start, start + count, size):
                yield slice(first, min(first + size, start + count)), number
            start += count

    def log_rho(self, rows: Rows) -> Tensor:
        """log_rho_CCPB: the first C belongs to the row, the second to sample j."""
        _, num_components, batch_size = self._shape
        place_Q = self._places(rows)
        per_value = max(1, len(place_Q) * num_components * batch_size)
        size = max(1, block_limit(place_Q.device) // (per_value * GROUP)) * GROUP
        self._blocks = [slice(start, start + size) for start in range(0, self._sums_2RKCB.shape[1], size)]
        total: Tensor | None = None
        for block in self._blocks:
            own, others = self._ends(self._kernels.values_2RKCB[:, block], rows, place_Q)
            groups = slice(block.start // GROUP, block.stop // GROUP)
            own_inverse, inverses = self._ends(self._kernels.inverse_GKCB[None, groups], rows, place_Q)
            part, *kept = pair_terms(own, others, own_inverse[0], inverses[0])
            total = part if total is None else total.add_(part)
            self._kept = (kept[0], kept[1]) if len(self._blocks) == 1 else None
        assert total is not None, "a kernel has at least one value"
        # (P, C, M) becomes (C, C, P, B).
        shaped = total.mul_(-self._scale).view(-1, num_components, num_components, batch_size)
        return shaped.permute(1, 2, 0, 3).contiguous()

    def add_gradient(self, rows: Rows, grad_CCPB: Tensor) -> None:
        """Add the gradient of these rows, which are those of the last `log_rho`.

        Args:
            rows: the rows.
            grad_CCPB: the derivative of the loss by their log ρ.
        """
        place_Q = self._places(rows)
        grad_PCM = grad_CCPB.permute(2, 0, 1, 3).flatten(2)
        self._add(self._grads_KCB.unsqueeze(0), grad_PCM.unsqueeze(0), rows, place_Q)
        for block in self._blocks:
            if self._kept is not None:
                inverse, slope = self._kept
            else:
                own, others = self._ends(self._kernels.values_2RKCB[:, block], rows, place_Q)
                inverse = (own[1] + others[1]).reciprocal_()
                slope = (own[0] - others[0]).mul_(inverse)
            slope, curve = pair_slopes(inverse, slope, grad_PCM)
            # The difference μ - μ' changes its sign between the two ends of a pair.
            self._add(self._sums_2RKCB[0, block], slope, rows, place_Q, own_sign=-1.0)
            self._add(self._sums_2RKCB[1, block], curve, rows, place_Q)
        self._kept = None

    def gradients(self, factor: float) -> tuple[Tensor, Tensor]:
        """The gradients of means_BKCR and variances_BKCR, times a factor. Call it once, at the end."""
        return self._kernels.gradients(self._sums_2RKCB, self._grads_KCB, self._scale * factor)

    def _places(self, rows: Rows) -> Tensor:
        """The place of each row's kernels in a (K, C, B) tensor that was flattened: place_Q."""
        _, num_components, batch_size = self._shape
        first_P = rows.class_P * (num_components * batch_size) + rows.sample_P
        steps_C = torch.arange(0, num_components * batch_size, batch_size, device=first_P.device)
        return (first_P.unsqueeze(1) + steps_C).flatten()

    def _ends(self, part_XRKCB: Tensor, rows: Rows, place_Q: Tensor) -> tuple[Tensor, Tensor]:
        """The values of the rows, (X, r, P, C, 1), and of their classes in all samples, (X, r, P or 1, 1, M)."""
        own = part_XRKCB.flatten(2).index_select(2, place_Q).unflatten(2, (-1, self._shape[1])).unsqueeze(4)
        if rows.only_class is not None:
            return own, part_XRKCB[:, :, rows.only_class].flatten(2)[:, :, None, None]
        return own, part_XRKCB.index_select(2, rows.class_P).flatten(3).unsqueeze(3)

    def _add(
        self, sums_RKCB: Tensor, pairs_RPCM: Tensor, rows: Rows, place_Q: Tensor, *, own_sign: float = 1.0
    ) -> None:
        """Add the pairs to the kernels at both of their ends: sample j's, and the row's, with a sign."""
        if rows.only_class is not None:
            sums_RKCB[:, rows.only_class].add_(pairs_RPCM.flatten(1, 2).sum(1).unflatten(1, (-1, self._shape[2])))
        else:
            sums_RKCB.view(*sums_RKCB.shape[:2], -1).index_add_(1, rows.class_P, pairs_RPCM.sum(2))
        sums_RKCB.view(len(sums_RKCB), -1).index_add_(1, place_Q, pairs_RPCM.sum(3).flatten(1), alpha=own_sign)
