"""The order of a split's images, divided over training workers."""

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from kmcl_platform.errors import DataError


class ShardedShuffle(Sampler[int]):
    """A fresh permutation each epoch, cut into equal shares; the remainder of N / world_size is left out.

    The permutation depends on seed and epoch alone, so that all ranks agree on it without talking.
    """

    def __init__(self, num_samples: int, *, rank: int, world_size: int, seed: int) -> None:
        """
        Args:
            rank: 0 to world_size - 1.
            seed: 0 or more.

        Raises:
            DataError: there are fewer samples than ranks.
        """
        check_rank(rank, world_size)
        if num_samples < world_size:
            raise DataError(f"training images: got {num_samples} for {world_size} workers; valid: one or more each")
        self._num_samples = num_samples
        self._rank = rank
        self._world_size = world_size
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the permutation of epoch 0, 1, ... for the next iteration."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._num_samples // self._world_size

    def __iter__(self) -> Iterator[int]:
        rng = np.random.Generator(np.random.PCG64([self._seed, self._epoch]))
        order = rng.permutation(self._num_samples)
        indices: list[int] = order[self._rank :: self._world_size][: len(self)].tolist()
        return iter(indices)


class ShardedSequence(Sampler[int]):
    """Indices rank, rank + world_size, ...: each sample exactly once over all ranks, so shares may differ by one."""

    def __init__(self, num_samples: int, *, rank: int, world_size: int) -> None:
        """
        Args:
            rank: 0 to world_size - 1.
        """
        check_rank(rank, world_size)
        self._indices = range(rank, num_samples, world_size)

    def __len__(self) -> int:
        return len(self._indices)

    def __iter__(self) -> Iterator[int]:
        return iter(self._indices)


def check_rank(rank: int, world_size: int) -> None:
    if not 0 <= rank < world_size:
        raise ValueError(f"rank: got {rank}; valid: 0 to {world_size - 1}, below world_size")
