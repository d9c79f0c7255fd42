"""Batch normalisation over the samples of all workers.

torch's own synchronised batch normalisation runs on GPUs only. This module computes the same statistics on CPUs, so
that a trial on two workers can be compared with the same trial on one worker on every machine.

Shape suffixes: B batch of this worker, F channels; `…` further dimensions (height and width), normalised over.
"""

from typing import Any

import torch
import torch.distributed as dist
from timm.layers.norm_act import BatchNormAct2d, convert_sync_batchnorm
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm


def synchronise_batch_norm(model: nn.Module, device: torch.device) -> None:
    """Let every batch normalisation of a model use the statistics of all workers. Parameter names stay the same.

    Args:
        model: changed in place.
        device: where the model will run.
    """
    if device.type != "cpu":
        # timm's function, because torch's own would drop the activation that some of timm's layers contain.
        convert_sync_batchnorm(model)
        return
    for module in model.modules():
        # Only the class changes: parameters, statistics, activation and names stay the same.
        if isinstance(module, BatchNormAct2d):
            module.__class__ = _CpuSyncBatchNormAct
        elif isinstance(module, _BatchNorm):
            module.__class__ = _CpuSyncBatchNorm


class _CpuSyncBatchNorm(_BatchNorm):
    """Batch normalisation that trains with the mean and variance of all workers' samples, and their derivative."""

    def forward(self, input: Tensor) -> Tensor:
        return _normalise(self, input) if self.training else super().forward(input)

    def _check_input_dim(self, input: Tensor) -> None:
        """Accept any number of dimensions."""


class _CpuSyncBatchNormAct(BatchNormAct2d):
    """The same for timm's layer, which also applies dropout and an activation to the result."""

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.act(self.drop(_normalise(self, x))) if self.training else super().forward(x)
        return result


def _normalise(module: _BatchNorm, input: Tensor) -> Tensor:
    over = [0, *range(2, input.dim())]
    shape = (1, -1, *[1] * (input.dim() - 2))
    # Values per channel on all workers. The count is summed too, so that the batches of workers may differ in size.
    count = _sum_over_workers(input.new_full((), input.numel() / input.shape[1]))
    mean_F = _sum_over_workers(input.sum(over)) / count
    centred = input - mean_F.view(shape)
    # A second all-reduce, for the squared distances from the mean: E[x²] - E[x]² would cancel where the mean is large.
    variance_F = _sum_over_workers(centred.square().sum(over)) / count
    if module.track_running_stats:
        # As in torch, the running variance is the unbiased one, with count - 1.
        _track(module, mean_F.detach(), variance_F.detach() * count / (count - 1).clamp(min=1))
    normalised = centred * (variance_F + module.eps).rsqrt().view(shape)
    return normalised * module.weight.view(shape) + module.bias.view(shape) if module.affine else normalised


@torch.no_grad()
def _track(module: _BatchNorm, mean_F: Tensor, variance_F: Tensor) -> None:
    assert module.running_mean is not None and module.running_var is not None
    assert module.num_batches_tracked is not None
    module.num_batches_tracked.add_(1)
    # As in torch: without a momentum, the running statistics are the plain mean over all batches.
    share = module.momentum if module.momentum is not None else 1.0 / float(module.num_batches_tracked)
    module.running_mean.lerp_(mean_F, share)
    module.running_var.lerp_(variance_F, share)


class _SumOverWorkers(Function):
    """The sum over all workers.

    Each worker's loss depends on the sum, so the gradient of each part is the sum of all workers' gradients.
    """

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
