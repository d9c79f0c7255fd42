"""The training order of packed images: shuffled, but read one row group at a time.

Legend of shapes: N images.
"""

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from kmcl_platform.data.loading.feature_dataset import SplitDataset
from kmcl_platform.data.loading.samplers import ShardedShuffle, check_num_samples, check_rank
from kmcl_platform.data.storage.shard_reader import BUFFER_GROUPS


class PackedShuffle(Sampler[int]):
    """A new order of shards, of their row groups and of their images in each epoch, divided into equal shares.

    The row groups are cut into buffers of `BUFFER_GROUPS`, and the images within a buffer are mixed. A worker reads
    each row group of its share once. Only the first and the last one may also be read by a neighbour.

    The order depends only on seed and epoch, so all ranks compute the same one without communication. The remainder of
    N / world_size is left out.
    """

    def __init__(self, shards_N: np.ndarray, groups_N: np.ndarray, *, rank: int, world_size: int, seed: int) -> None:
        """
        Args:
            shards_N: number of each image's shard, from `ImageDataset.row_groups`.
            groups_N: number of each image's row group in its shard, from `ImageDataset.row_groups`.
            rank: 0 to world_size - 1.
            world_size: number of training workers, 1 or more.
            seed: 0 or more.

        Raises:
            DataError: there are fewer images than ranks.
            ValueError: the rank is out of its range.
        """
        check_rank(rank, world_size)
        check_num_samples(len(shards_N), world_size)
        # One number for each pair of shard and row group, then numbered from 0 without gaps.
        most = groups_N.max() + 1
        keys, self._group_N = np.unique(shards_N * most + groups_N, return_inverse=True)
        self._shard_of_group = np.unique(keys // most, return_inverse=True)[1]
        self._rank = rank
        self._world_size = world_size
        self._seed = seed
        self._epoch = self._start = 0

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Choose the order of epoch 0, 1, ... for the next iteration, without its first `start` images."""
        self._epoch, self._start = epoch, start

    def __len__(self) -> int:
        return len(self._group_N) // self._world_size

    def __iter__(self) -> Iterator[int]:
        rng = np.random.Generator(np.random.PCG64([self._seed, self._epoch]))
        place_of_shard = rng.permutation(self._shard_of_group.max() + 1)
        place_in_shard = rng.permutation(len(self._shard_of_group))
        place_of_group = np.empty(len(self._shard_of_group), dtype=np.int64)
        # By the shard's place first, then by the group's: all row groups of a shard follow each other, so that the
        # cache needs few shards at a time.
        place_of_group[np.lexsort((place_in_shard, place_of_shard[self._shard_of_group]))] = np.arange(
            len(place_of_group)
        )
        shuffled_N = rng.permutation(len(self._group_N))
        # A stable sort keeps the shuffled order within a row group. Where the end of a share cuts a row group, it is
        # therefore random which of its images belong to which worker.
        order_N = shuffled_N[np.argsort(place_of_group[self._group_N[shuffled_N]], kind="stable")]
        own = order_N[self._rank * len(self) : (self._rank + 1) * len(self)]
        # The row groups of the share are numbered 0, 1, ... in their order, then divided into buffers.
        changes = np.diff(self._group_N[own], prepend=self._group_N[own[:1]]) != 0
        buffer_of_image = np.cumsum(changes) // BUFFER_GROUPS
        indices: list[int] = own[np.lexsort((rng.random(len(own)), buffer_of_image))].tolist()
        return iter(indices[self._start :])


def build_training_order(
    dataset: SplitDataset, *, rank: int, world_size: int, seed: int
) -> ShardedShuffle | PackedShuffle:
    """The training order of a dataset: `PackedShuffle` if its images are packed, otherwise `ShardedShuffle`.

    Raises:
        DataError: there are fewer images than ranks.
    """
    row_groups = dataset.row_groups
    if row_groups is None:
        return ShardedShuffle(len(dataset), rank=rank, world_size=world_size, seed=seed)
    return PackedShuffle(*row_groups, rank=rank, world_size=world_size, seed=seed)
