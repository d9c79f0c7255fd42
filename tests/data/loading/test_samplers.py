"""How the images of a split are divided over training workers."""

import pytest

from kmcl_platform.data.loading.samplers import ShardedSequence, ShardedShuffle
from kmcl_platform.errors import DataError


@pytest.mark.parametrize(("num_samples", "world_size"), [(12, 3), (14, 3), (5, 5), (7, 1)])
def test_sharded_shuffle_gives_equal_shares_without_repetition(num_samples: int, world_size: int) -> None:
    samplers = [ShardedShuffle(num_samples, rank=rank, world_size=world_size, seed=3) for rank in range(world_size)]
    shares = [list(sampler) for sampler in samplers]
    assert [len(share) for share in shares] == [num_samples // world_size] * world_size
    assert [len(sampler) for sampler in samplers] == [num_samples // world_size] * world_size
    union = [index for share in shares for index in share]
    assert len(set(union)) == len(union)
    assert set(union) <= set(range(num_samples))


def test_sharded_shuffle_depends_only_on_seed_and_epoch() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        sampler = ShardedShuffle(50, rank=1, world_size=2, seed=seed)
        sampler.set_epoch(epoch)
        assert list(sampler) == list(sampler)
        return list(sampler)

    assert order(3, 0) == order(3, 0)
    assert order(3, 4) == order(3, 4)
    assert len({tuple(order(seed, epoch)) for seed in (3, 4) for epoch in (0, 1, 2)}) == 6


def test_sharded_shuffle_divides_one_permutation() -> None:
    whole = list(ShardedShuffle(14, rank=0, world_size=1, seed=0))
    shares = [list(ShardedShuffle(14, rank=rank, world_size=3, seed=0)) for rank in range(3)]
    assert [shares[i % 3][i // 3] for i in range(12)] == whole[:12]


def test_sharded_shuffle_needs_a_sample_for_each_rank() -> None:
    with pytest.raises(DataError, match="^training images: got 3 for 4 workers; valid: one or more each$"):
        ShardedShuffle(3, rank=0, world_size=4, seed=0)


@pytest.mark.parametrize(("num_samples", "world_size"), [(12, 3), (14, 3), (2, 4), (7, 1)])
def test_sharded_sequence_covers_each_once(num_samples: int, world_size: int) -> None:
    samplers = [ShardedSequence(num_samples, rank=rank, world_size=world_size) for rank in range(world_size)]
    assert sorted(index for sampler in samplers for index in sampler) == list(range(num_samples))
    for rank, sampler in enumerate(samplers):
        assert len(list(sampler)) == len(sampler)
        assert all(index % world_size == rank for index in sampler)


def test_a_rank_outside_its_range_is_refused() -> None:
    with pytest.raises(ValueError, match="rank: got 2; valid: 0 to 1"):
        ShardedSequence(4, rank=2, world_size=2)
