"""The batch of all workers: the samples that one worker compares its own with, and the counts that it divides by.

See docs/method.md, Several workers.

Shape suffixes: B batch of this worker, G batch of all workers (each share padded to the same length), D features,
K classes, C kernels per class, R values of one kernel's mean or variance.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from kmcl_platform.method.kernels.mixture_head import KernelMixture

Kernels = tuple[Tensor, Tensor, Tensor]
"""Means, variances and logarithms of the component weights, as `KernelMixture` has them."""


class GlobalBatch(NamedTuple):
    """The samples of all workers, as the formulation `corrected` needs them.

    Attributes:
        mixture: kernels of all samples. Its logits are those of this worker's samples only; no term needs the others.
        positive_GK: bool, known positive labels of all samples.
        known_GK: bool, known labels of all samples. All labels of the padding are unknown, so it is in no term.
        anchors: the positions of this worker's own samples.
        num_samples: 0-dimensional: samples of all workers, divided by W, the number of workers. A division by it
            multiplies a worker's term by W, because data parallelism averages gradients over workers.
        num_labelled: the same for samples with a positive label, counted as at least 1.
    """

    mixture: KernelMixture
    positive_GK: Tensor
    known_GK: Tensor
    anchors: slice
    num_samples: Tensor
    num_labelled: Tensor


def local_batch(mixture: KernelMixture, positive_BK: Tensor, known_BK: Tensor) -> GlobalBatch:
    """The batch of a single worker."""
    size = len(positive_BK)
    return GlobalBatch(
        mixture=mixture,
        positive_GK=positive_BK,
        known_GK=known_BK,
        anchors=slice(0, size),
        num_samples=mixture.logits_BK.new_full((), size),
        # At least 1, because a batch without a positive label would divide its sum of 0 by 0.
        num_labelled=positive_BK.any(1).sum(dtype=mixture.logits_BK.dtype).clamp_(min=1.0),
    )


class BatchGather:
    """Gathers the kernels and targets of all workers, as a differentiable operation.

    All workers must call it the same number of times. It takes one collective operation forward and one backward. The
    host waits for neither, because each share is padded to a length that is known in advance.

    Kernels are functions of the features, and often much larger: K·C·(2R + 1) numbers for each sample, D for its
    features. So the smaller of both is sent, and each worker computes the kernels of all samples from the features.
    The values are the same. So are the gradients: each worker's gradients of the head's parameters then contain its own
    loss alone, but for the kernels of all samples, and data parallelism adds them up over workers.

    Args:
        share: samples in a worker's full batch, at least 1. A smaller last batch is padded.
        group: the workers. None: all processes of `torch.distributed`.
        kernels_of: computes kernels from features, with the same parameters on all workers, which data parallelism
            trains. None: kernels are always sent.

    Raises:
        ValueError: share is below 1.
    """

    def __init__(
        self,
        share: int,
        group: dist.ProcessGroup | None = None,
        *,
        kernels_of: Callable[[Tensor], Kernels] | None = None,
    ) -> None:
        if share < 1:
            raise ValueError(f"share: got {share}; valid: at least 1")
        self._share = share
        self._group = group
        self._kernels_of = kernels_of
        self._rank = dist.get_rank(group)
        self._num_workers = dist.get_world_size(group)

    def __call__(
        self,
        features_BD: Tensor,
        mixture: KernelMixture,
        positive_BK: Tensor,
        known_BK: Tensor,
        *,
        with_kernels: bool = True,
    ) -> GlobalBatch:
        """Gather a batch.

        Args:
            features_BD: the features of which `kernels_of` computes the kernels.
            mixture: kernels of this worker's samples.
            positive_BK: bool, their known positive labels.
            known_BK: bool, their known labels.
            with_kernels: gather the kernels too. False: the returned mixture is this worker's own.

        Raises:
            ValueError: the batch is larger than a share.
        """
        size, num_classes = positive_BK.shape
        if size > self._share:
            raise ValueError(f"positive_BK: got {size} samples; valid: at most {self._share}, a worker's share")
        # This column counts samples. The known labels cannot: a real sample may have only unknown ones.
        present_B1 = torch.ones_like(known_BK[:, :1])
        parts = [torch.cat((positive_BK, known_BK, present_B1), 1).to(mixture.logits_BK.dtype)]
        kernels = [part.flatten(1) for part in mixture[1:]] if with_kernels else []
        sends_features = self._kernels_of is not None and features_BD.shape[1] < sum(part.shape[1] for part in kernels)
        parts += [features_BD] if sends_features else kernels
        # One tensor makes one message. The padding has no label, and 1 everywhere else: its kernels are in no term, but
        # a variance of 0 would give NaN, and NaN times a weight of 0 is NaN.
        rows = torch.cat(parts, 1)
        if size < self._share:
            padding = rows.new_ones((self._share - size, rows.shape[1]))
            padding[:, : 2 * num_classes + 1] = 0.0
            rows = torch.cat((rows, padding))
        gathered: Tensor = _AllGather.apply(rows, self._group, self._num_workers)
        # The labels travel as 0.0 and 1.0 in the dtype of the kernels, so that one message holds both.
        labels = gathered[:, : 2 * num_classes + 1].detach() > 0
        positive_GK = labels[:, :num_classes]
        rest = gathered[:, 2 * num_classes + 1 :]
        if self._kernels_of is not None and sends_features:
            mixture = KernelMixture(mixture.logits_BK, *self._kernels_of(rest))
        elif with_kernels:
            mixture = self._unpack(mixture, rest)
        return GlobalBatch(
            mixture=mixture,
            positive_GK=positive_GK,
            known_GK=labels[:, num_classes : 2 * num_classes],
            # The padding of the own share is not an anchor.
            anchors=slice(self._rank * self._share, self._rank * self._share + size),
            num_samples=labels[:, -1].sum(dtype=rows.dtype) / self._num_workers,
            num_labelled=positive_GK.any(1).sum(dtype=rows.dtype).clamp_(min=1.0) / self._num_workers,
        )

    @staticmethod
    def _unpack(mixture: KernelMixture, columns: Tensor) -> KernelMixture:
        shapes = [part.shape[1:] for part in mixture[1:]]
        parts = columns.split([shape.numel() for shape in shapes], 1)
        return KernelMixture(
            mixture.logits_BK, *(part.unflatten(1, shape) for part, shape in zip(parts, shapes, strict=True))
        )


class _AllGather(Function):
    """The rows of all workers, one share after the other.

    Backward: every worker's loss depends on this worker's rows, so their gradients are summed over workers.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, group: dist.ProcessGroup | None, num_workers: int) -> Tensor:
        ctx.group, ctx.own_shape = group, rows.shape
        gathered = rows.new_empty((num_workers * len(rows), *rows.shape[1:]))
        dist.all_gather_into_tensor(gathered, rows.contiguous(), group=group)
        return gathered

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        # The gradient of the own rows alone: the others' rows are inputs of other processes.
        total = grad.new_empty(ctx.own_shape)
        dist.reduce_scatter_tensor(total, grad.contiguous(), group=ctx.group)
        return total, None, None
