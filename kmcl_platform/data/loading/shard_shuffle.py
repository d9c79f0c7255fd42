"""The training order of packed images: shuffled, yet read a row group at a time.

Legend of shapes: N images.
"""

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from kmcl_platform.data.loading.dataset import ImageDataset
from kmcl_platform.data.loading.samplers import ShardedShuffle, check_rank
from kmcl_platform.data.storage.shard_reader import BUFFER_GROUPS
from kmcl_platform.errors import DataError


class PackedShuffle(Sampler[int]):
    """Shards in a fresh order each epoch, their row groups too, cut into equal shares; the images of a share are mixed
    within buffers of a few row groups. The remainder of N / world_size is left out.

    The order depends on seed and epoch alone, so that all ranks agree on it without talking. A worker reads its own
    share of the row groups and no other, and each once, but for the two that it may share with its neighbours.
    """

    def __init__(self, shards_N: np.ndarray, groups_N: np.ndarray, *, rank: int, world_size: int, seed: int) -> None:
        """
        Args:
            shards_N, groups_N: of each image its shard and the row group in it, as `ImageDataset.row_groups`.
            rank: 0 to world_size - 1.
            seed: 0 or more.

        Raises:
            DataError: there are fewer images than ranks.
        """
        check_rank(rank, world_size)
        if len(shards_N) < world_size:
            raise DataError(f"training images: got {len(shards_N)} for {world_size} workers; valid: one or more each")
        most = groups_N.max() + 1
        keys, self._group_N = np.unique(shards_N * most + groups_N, return_inverse=True)
        self._shard_of_group = np.unique(keys // most, return_inverse=True)[1]
        self._rank = rank
        self._world_size = world_size
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of epoch 0, 1, ... for the next iteration."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._group_N) // self._world_size

    def __iter__(self) -> Iterator[int]:
        rng = np.random.Generator(np.random.PCG64([self._seed, self._epoch]))
        place_of_shard = rng.permutation(self._shard_of_group.max() + 1)
        place_in_shard = rng.permutation(len(self._shard_of_group))
        place_of_group = np.empty(len(self._shard_of_group), dtype=np.int64)
        place_of_group[np.lexsort((place_in_shard, place_of_shard[self._shard_of_group]))] = np.arange(
            len(place_of_group)
        )
        shuffled_N = rng.permutation(len(self._group_N))
        # A stable sort leaves the images of a group shuffled: which of them a cut gives to whom is chance as well.
        order_N = shuffled_N[np.argsort(place_of_group[self._group_N[shuffled_N]], kind="stable")]
        own = order_N[self._rank * len(self) : (self._rank + 1) * len(self)]
        # Its row groups, numbered 0, 1, ... as they come, and so many of them at a time in one pot.
        changes = np.diff(self._group_N[own], prepend=self._group_N[own[:1]]) != 0
        buffer_of_image = np.cumsum(changes) // BUFFER_GROUPS
        indices: list[int] = own[np.lexsort((rng.random(len(own)), buffer_of_image))].tolist()
        return iter(indices)


def build_training_order(
    dataset: ImageDataset, *, rank: int, world_size: int, seed: int
) -> ShardedShuffle | PackedShuffle:
    """The order that suits where a dataset's images lie.

    Raises:
        DataError: there are fewer images than ranks.
    """
    row_groups = dataset.row_groups
    if row_groups is None:
        return ShardedShuffle(len(dataset), rank=rank, world_size=world_size, seed=seed)
    return PackedShuffle(*row_groups, rank=rank, world_size=world_size, seed=seed)
