"""Workers: the group of processes that train one trial together, as one of them sees it."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from kmcl_platform.errors import KmclError

T = TypeVar("T")


@dataclass(frozen=True)
class Workers:
    """One process of a group of workers, with the collective operations that training needs.

    With one worker every operation returns its argument, so training needs no second code path.

    Attributes:
        rank: this process's number, from 0.
        world_size: number of processes.
        device: where this process computes.
    """

    rank: int
    world_size: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this process writes checkpoints and reports."""
        return self.rank == 0

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """The mean of a tensor over all workers. The tensor has the same shape on each of them."""
        if self.world_size == 1:
            return values
        # all_reduce writes into its argument.
        total = values.clone()
        dist.all_reduce(total)
        return total / self.world_size

    def broadcast(self, value: T) -> T:
        """The value of the first worker, on every worker. It must be picklable."""
        if self.world_size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def gather(self, value: T) -> list[T]:
        """The values of all workers by rank, on every worker. They must be picklable."""
        if self.world_size == 1:
            return [value]
        found: list[Any] = [None] * self.world_size
        dist.all_gather_object(found, value)
        return found

    def on_first(self, action: Callable[[], T]) -> T:
        """The result of an action of the first worker, on every worker. It must be picklable.

        Raises:
            KmclError: of the action, on every worker. Any other error is raised on the first worker only.
        """
        if self.world_size == 1:
            return action()
        result: T | None = None
        error: KmclError | None = None
        if self.is_first:
            try:
                result = action()
            except KmclError as raised:
                error = raised
        result, error = self.broadcast((result, error))
        if error is not None:
            raise error
        return cast(T, result)

    def broadcast_buffers(self, module: nn.Module) -> None:
        """Replace a module's buffers, which may differ between workers, by the first worker's."""
        if self.world_size > 1:
            for buffer in module.buffers():
                dist.broadcast(buffer, src=0)

    def gather_interleaved(self, rows: torch.Tensor, total: int) -> torch.Tensor:
        """Gather rows into their order, on every worker: of W workers, worker r has rows r, r + W, r + 2W, …

        Args:
            rows: (n, …), the rows of this worker. n differs by at most one between workers.
            total: number of rows over all workers.

        Returns:
            (total, …).
        """
        if self.world_size == 1:
            return rows
        longest = -(-total // self.world_size)
        # all_gather needs tensors of one shape.
        padded = rows.new_zeros((longest, *rows.shape[1:]))
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in range(self.world_size)]
        dist.all_gather(parts, padded)
        # Stacked in the second dimension, row i of worker r is at position i·W + r. The padding is at the end.
        return torch.stack(parts, dim=1).flatten(0, 1)[:total]


def join_workers() -> Workers:
    """The workers of torch's default process group. Without such a group: a group of this process alone.

    The device is the GPU that the launcher gave this process (`LOCAL_RANK`), or the CPU.
    """
    device = torch.device("cpu")
    # Matrix products of `optim.deterministic` need this, and cuBLAS reads it when it starts.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if torch.cuda.is_available():
        # The remainder, because a launcher may show each process its own GPU only, which is then number 0.
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        return Workers(rank=0, world_size=1, device=device)
    return Workers(rank=dist.get_rank(), world_size=dist.get_world_size(), device=device)


_ARGUMENTS = signature(DistributedDataParallel).parameters
_SYNC_BUFFERS = "forward_sync_buffers" if "forward_sync_buffers" in _ARGUMENTS else "broadcast_buffers"
"""Whether statistics of batch normalisation are sent in each step, as newer and as older versions of torch call it."""


def data_parallel(model: nn.Module, workers: Workers, *, all_used: bool) -> nn.Module:
    """A model whose backward pass averages the gradients over all workers. With one worker: the model itself.

    Args:
        model: on the device of its worker.
        workers: all of them call this.
        all_used: whether every parameter receives a gradient in every step.
    """
    if workers.world_size == 1:
        return model
    devices = [workers.device] if workers.device.type == "cuda" else None
    # `find_unused_parameters`: with some objectives, parts of the head get no gradient, which is an error without it.
    # Training does not use the running statistics of batch normalisation, so they may differ between workers. The first
    # worker's are broadcast once an epoch, before the evaluation.
    options: dict[str, Any] = {_SYNC_BUFFERS: False}
    return DistributedDataParallel(model, device_ids=devices, find_unused_parameters=not all_used, **options)
