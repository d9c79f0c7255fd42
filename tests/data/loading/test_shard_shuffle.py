"""The training order of packed images."""

from collections import Counter

import numpy as np
import pytest
import torch

from kmcl_platform.data.builtin.digits import build_digits
from kmcl_platform.data.loading.dataset import ImageDataset
from kmcl_platform.data.loading.loader import build_loader
from kmcl_platform.data.loading.samplers import ShardedShuffle
from kmcl_platform.data.loading.shard_shuffle import PackedShuffle, build_training_order
from kmcl_platform.data.loading.transforms import EvalTransform
from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.data.pack.write_shards import pack
from kmcl_platform.data.storage.location import parse_location
from kmcl_platform.errors import DataError

TRANSFORM = EvalTransform(image_size=40)


def layout(shard_sizes: list[int], group_images: int) -> tuple[np.ndarray, np.ndarray]:
    """shards_N and groups_N of shards with these numbers of images."""
    shards = np.concatenate([np.full(size, shard) for shard, size in enumerate(shard_sizes)])
    groups = np.concatenate([np.arange(size) // group_images for size in shard_sizes])
    return shards, groups


def shares(
    shard_sizes: list[int], group_images: int, world_size: int, *, seed: int = 3, epoch: int = 0
) -> list[list[int]]:
    result = []
    for rank in range(world_size):
        sampler = PackedShuffle(*layout(shard_sizes, group_images), rank=rank, world_size=world_size, seed=seed)
        sampler.set_epoch(epoch)
        result.append(list(sampler))
        assert len(sampler) == len(result[-1])
    return result


LAYOUTS = [([320, 320, 200], 16), ([64], 64), ([5, 3], 2), ([1000, 7, 1], 64), ([1, 1, 1, 1, 1], 1)]


@pytest.mark.parametrize(("shard_sizes", "group_images"), LAYOUTS)
@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
def test_no_image_occurs_twice_and_few_are_left_out(shard_sizes: list[int], group_images: int, world_size: int) -> None:
    total = sum(shard_sizes)
    for epoch in range(4):
        own = shares(shard_sizes, group_images, world_size, epoch=epoch)
        assert {len(share) for share in own} == {total // world_size}
        union = [index for share in own for index in share]
        assert len(set(union)) == len(union)
        assert set(union) <= set(range(total))
        assert total - len(union) <= world_size - 1


def test_order_is_a_function_of_seed_and_epoch() -> None:
    def order(seed: int, epoch: int) -> list[list[int]]:
        return shares([320, 320, 200], 16, 2, seed=seed, epoch=epoch)

    assert order(3, 1) == order(3, 1)
    assert order(3, 1) != order(3, 2)
    assert order(3, 1) != order(4, 1)
    # In the end, each rank has had each image.
    assert {index for epoch in range(12) for index in order(3, epoch)[0]} == set(range(840))


def test_the_images_that_are_left_out_change() -> None:
    left_out = [set(range(8)) - {i for share in shares([8], 8, 3, epoch=epoch) for i in share} for epoch in range(20)]
    assert len(set().union(*left_out)) > 4


def group_reads(share: list[int], shards: np.ndarray, groups: np.ndarray, kept: int) -> int:
    """How often a reader that keeps the last few row groups in memory has to read one: a simple reference."""
    memory: list[tuple[int, int]] = []
    reads = 0
    for index in share:
        group = (int(shards[index]), int(groups[index]))
        if group in memory:
            memory.remove(group)
        else:
            reads += 1
        memory = [*memory, group][-kept:]
    return reads


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_row_groups_are_read_about_once_over_all_ranks(world_size: int) -> None:
    shards, groups = layout([640] * 6, 16)
    reads = sum(group_reads(share, shards, groups, 8) for share in shares([640] * 6, 16, world_size, epoch=2))
    assert 240 <= reads <= 240 + world_size - 1


def test_images_are_mixed_within_a_buffer() -> None:
    shards, groups = layout([640] * 6, 16)
    (share,) = shares([640] * 6, 16, 1)
    for start in range(0, len(share), 128):
        buffer = share[start : start + 128]
        counts = Counter((int(shards[i]), int(groups[i])) for i in buffer)
        assert set(counts.values()) == {16} and len(counts) == 8
        # The first batch has images of most groups.
        assert len({(int(shards[i]), int(groups[i])) for i in buffer[:32]}) > 5
    assert share != sorted(share)


def test_too_few_images_are_refused() -> None:
    with pytest.raises(DataError, match="^training images: got 2 for 3 workers; valid: one or more each$"):
        PackedShuffle(*layout([2], 1), rank=0, world_size=3, seed=0)
    with pytest.raises(ValueError, match="^rank: got 2"):
        PackedShuffle(*layout([4], 1), rank=2, world_size=2, seed=0)


@pytest.fixture(scope="module")
def digits() -> Manifest:
    return build_digits(num_train=200, num_val=1, num_test=1)


@pytest.fixture(scope="module")
def packed(digits: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    out = parse_location(tmp_path_factory.mktemp("packed"))
    return pack(digits, out, shard_bytes=100_000, group_images=8, progress=lambda *_: None)


def test_packed_and_other_datasets_get_their_own_order(digits: Manifest, packed: Manifest) -> None:
    plain = build_training_order(ImageDataset(digits, "train", TRANSFORM), rank=1, world_size=2, seed=5)
    assert isinstance(plain, ShardedShuffle)
    assert list(plain) == list(ShardedShuffle(200, rank=1, world_size=2, seed=5))
    order = build_training_order(ImageDataset(packed, "train", TRANSFORM), rank=1, world_size=2, seed=5)
    assert isinstance(order, PackedShuffle)


@pytest.mark.parametrize("processes", [0, 2])
def test_two_ranks_share_an_epoch(processes: int, digits: Manifest, packed: Manifest) -> None:
    seen: Counter[bytes] = Counter()
    reads = 0
    for rank in range(2):
        dataset = ImageDataset(packed, "train", TRANSFORM)
        sampler = build_training_order(dataset, rank=rank, world_size=2, seed=1)
        loader = build_loader(dataset, sampler, batch_size=10, drop_last=True, processes=processes, pin_memory=False)
        sampler.set_epoch(7)
        seen.update(image.numpy().tobytes() for images, _ in loader for image in images)
        assert dataset._shards is not None
        reads += dataset._shards.num_group_reads
    plain = ImageDataset(digits, "train", TRANSFORM)
    assert seen == Counter(plain[row][0].numpy().tobytes() for row in range(200))
    if not processes:
        assert 25 <= reads <= 26


def test_loader_processes_change_nothing(packed: Manifest) -> None:
    def batches(processes: int) -> list[torch.Tensor]:
        dataset = ImageDataset(packed, "train", TRANSFORM)
        sampler = build_training_order(dataset, rank=0, world_size=1, seed=1)
        loader = build_loader(dataset, sampler, batch_size=16, drop_last=True, processes=processes, pin_memory=False)
        sampler.set_epoch(2)
        return [images for images, _ in loader]

    assert all(torch.equal(a, b) for a, b in zip(batches(0), batches(2), strict=True))
