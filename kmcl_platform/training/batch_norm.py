"""Batch normalisation over the samples of all workers.

torch's own synchronised form runs on GPUs alone. On CPUs the same statistics are gathered here, so that a trial on two
workers can be held against the same trial on one, whatever the machine.

Shape suffixes: B batch of this worker, F channels; `…` further dimensions (height and width), normalised over.
"""

from typing import Any

import torch
import torch.distributed as dist
from timm.layers.norm_act import SyncBatchNormAct, convert_sync_batchnorm
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable


def synchronise_batch_norm(model: nn.Module, device: torch.device) -> None:
    """Let every batch normalisation within a model take its statistics over all workers; parameter names stay.

    Args:
        model: changed in place.
        device: where it will run.
    """
    convert_sync_batchnorm(model)
    if device.type == "cpu":
        for module in model.modules():
            if isinstance(module, SyncBatchNormAct):
                module.__class__ = _CpuSyncBatchNormAct
            elif isinstance(module, nn.SyncBatchNorm):
                module.__class__ = _CpuSyncBatchNorm


class _CpuSyncBatchNorm(nn.SyncBatchNorm):
    """In training: the mean and variance of all workers' samples, with their derivative; else as torch does."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        over = [0, *range(2, input.dim())]
        shape = (1, -1, *[1] * (input.dim() - 2))
        count = _sum_over_workers(input.new_full((), input.numel() / input.shape[1]))
        mean_F = _sum_over_workers(input.sum(over)) / count
        centred = input - mean_F.view(shape)
        variance_F = _sum_over_workers(centred.square().sum(over)) / count
        if self.track_running_stats:
            self._track(mean_F.detach(), variance_F.detach() * count / (count - 1).clamp(min=1))
        normalised = centred * (variance_F + self.eps).rsqrt().view(shape)
        return normalised * self.weight.view(shape) + self.bias.view(shape) if self.affine else normalised

    @torch.no_grad()
    def _track(self, mean_F: Tensor, variance_F: Tensor) -> None:
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share = self.momentum if self.momentum is not None else 1.0 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean_F, share)
        self.running_var.lerp_(variance_F, share)


class _CpuSyncBatchNormAct(SyncBatchNormAct, _CpuSyncBatchNorm):
    """timm's layer, which drops and activates what the normalisation gives."""


class _SumOverWorkers(Function):
    """The sum over all workers; each worker's share of it takes the sum of all workers' gradients."""

    @staticmethod
    def forward(ctx: Any, part: Tensor) -> Tensor:
        total = part.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        total = grad.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total


def _sum_over_workers(part: Tensor) -> Tensor:
    total: Tensor = _SumOverWorkers.apply(part) if dist.is_initialized() and dist.get_world_size() > 1 else part
    return total
