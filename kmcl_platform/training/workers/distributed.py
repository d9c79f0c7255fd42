"""Workers: this process's place among the processes that train one trial together."""

import os
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist

T = TypeVar("T")


@dataclass(frozen=True)
class Workers:
    """One process of a group, and the few collective operations that training needs.

    With one worker every operation is the identity, so that training needs no second code path.

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
        """The mean of a tensor over all workers; the same shape on each."""
        if self.world_size == 1:
            return values
        total = values.clone()
        dist.all_reduce(total)
        return total / self.world_size

    def broadcast(self, value: T) -> T:
        """The first worker's picklable value, on every worker."""
        if self.world_size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def broadcast_buffers(self, module: torch.nn.Module) -> None:
        """Overwrite a module's buffers with the first worker's (batch-norm statistics differ between workers)."""
        if self.world_size > 1:
            for buffer in module.buffers():
                dist.broadcast(buffer, src=0)

    def gather_interleaved(self, rows: torch.Tensor, total: int) -> torch.Tensor:
        """Put rows dealt out in turn (worker r holds r, r + W, r + 2W, …) back into their order, on every worker.

        Args:
            rows: (n, …), this worker's rows, n differing by at most one between workers.
            total: number of rows over all workers.

        Returns:
            (total, …).
        """
        if self.world_size == 1:
            return rows
        longest = -(-total // self.world_size)
        padded = rows.new_zeros((longest, *rows.shape[1:]))
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in range(self.world_size)]
        dist.all_gather(parts, padded)
        return torch.stack(parts, dim=1).flatten(0, 1)[:total]


def join_workers() -> Workers:
    """This process's place in torch's default process group; a group of one where there is none.

    The device is the GPU that the launcher gave this process (`LOCAL_RANK`), or the CPU.
    """
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        return Workers(rank=0, world_size=1, device=device)
    return Workers(rank=dist.get_rank(), world_size=dist.get_world_size(), device=device)
