"""The order of a split's images, divided over training workers."""

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from kmcl_platform.errors import DataError


class ShardedShuffle(Sampler[int]):
    """A new permutation in each epoch, divided into equal shares.

    The permutation depends only on seed and epoch, so all ranks compute the same one without communication. The
    remainder of num_samples / world_size is left out; other samples are left out in another epoch.
    """

    def __init__(self, num_samples: int, *, rank: int, world_size: int, seed: int) -> None:
        """
        Args:
            num_samples: the size of the split, `world_size` or more.
            rank: 0 to world_size - 1.
            world_size: number of training workers, 1 or more.
            seed: 0 or more.

        Raises:
            DataError: there are fewer samples than ranks.
            ValueError: the rank is out of its range.
        """
        check_rank(rank, world_size)
        check_num_samples(num_samples, world_size)
        self._num_samples = num_samples
        self._rank = rank
        self._world_size = world_size
        self._seed = seed
        self._epoch = self._start = 0

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Choose the permutation of epoch 0, 1, ... for the next iteration, without its first `start` images."""
        self._epoch, self._start = epoch, start

    def __len__(self) -> int:
        return self._num_samples // self._world_size

    def __iter__(self) -> Iterator[int]:
        # A new generator from seed and epoch, so a resumed trial gets the same order without the epochs before.
        rng = np.random.Generator(np.random.PCG64([self._seed, self._epoch]))
        order = rng.permutation(self._num_samples)
        # Every world_size-th index, cut to equal length: otherwise the first ranks could have one image more.
        indices: list[int] = order[self._rank :: self._world_size][: len(self)].tolist()
        return iter(indices[self._start :])


class ShardedSequence(Sampler[int]):
    """The indices rank, rank + world_size, ... in this order.

    Over all ranks, each sample occurs exactly once. The shares of two ranks may therefore differ by one sample.
    """

    def __init__(self, num_samples: int, *, rank: int, world_size: int) -> None:
        """
        Args:
            num_samples: the size of the split.
            rank: 0 to world_size - 1.
            world_size: number of workers, 1 or more.

        Raises:
            ValueError: the rank is out of its range.
        """
        check_rank(rank, world_size)
        self._indices = range(rank, num_samples, world_size)

    def __len__(self) -> int:
        return len(self._indices)

    def __iter__(self) -> Iterator[int]:
        return iter(self._indices)


def check_rank(rank: int, world_size: int) -> None:
    """
    Raises:
        ValueError: the rank is not one of 0 to world_size - 1.
    """
    if not 0 <= rank < world_size:
        raise ValueError(f"rank: got {rank}; valid: 0 to {world_size - 1}, below world_size")


def check_num_samples(num_samples: int, world_size: int) -> None:
    """
    Raises:
        DataError: there are fewer training images than workers, so that some worker would have none.
    """
    if num_samples < world_size:
        raise DataError(f"training images: got {num_samples} for {world_size} workers; valid: one or more each")
