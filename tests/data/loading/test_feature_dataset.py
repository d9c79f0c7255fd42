"""Batches of features: the same as those of torch's loader."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from kmcl_platform.data.loading.feature_dataset import FeatureDataset
from kmcl_platform.data.loading.loader import build_loader, identity
from kmcl_platform.data.loading.samplers import ShardedSequence, ShardedShuffle


def dataset(num_rows: int = 23, views: int = 1, dtype: str = "float32") -> FeatureDataset:
    rng = np.random.default_rng(0)
    rows_N = np.arange(num_rows)
    rows_N[3] = 4
    features_VND = rng.normal(size=(views, num_rows, 5)).astype(dtype)
    return FeatureDataset(features_VND, rows_N, rng.integers(-1, 2, (num_rows, 2)).astype(np.int8))


@pytest.mark.parametrize("drop_last", [True, False])
@pytest.mark.parametrize(("views", "dtype"), [(1, "float32"), (3, "float16")])
def test_batches_are_those_of_a_loader_of_torch(drop_last: bool, views: int, dtype: str) -> None:
    features = dataset(views=views, dtype=dtype)
    sampler = ShardedShuffle(len(features), rank=0, world_size=2, seed=1)
    own = build_loader(features, sampler, batch_size=4, drop_last=drop_last, processes=0, pin_memory=False)
    of_torch = DataLoader(features, 4, sampler=sampler, drop_last=drop_last, collate_fn=identity)
    assert len(own) == len(of_torch) == (2 if drop_last else 3)
    orders = []
    for epoch in (1, 2):
        sampler.set_epoch(epoch)
        features.set_epoch(epoch)
        skipped = []
        batches = []
        for loader in (own, of_torch):
            features.set_epoch(epoch)
            batches.append(list(loader))
            skipped.append(features.count_skipped())
        assert len(batches[0]) == len(own)
        assert skipped[0] == skipped[1]
        for found, wanted in zip(*batches, strict=True):
            assert found[0].dtype == torch.float32
            assert torch.equal(found[0], wanted[0]) and torch.equal(found[1], wanted[1])
        orders.append(torch.cat([found[0] for found in batches[0]]))
    assert not torch.equal(*orders)


def test_each_epoch_has_another_view_of_a_row_and_all_views() -> None:
    features_VND = np.arange(3, dtype=np.float32)[:, None, None] * np.ones((1, 6, 1), np.float32)
    features = FeatureDataset(features_VND, np.arange(6), np.zeros((6, 1), np.int8))
    seen = []
    for epoch in (1, 2, 3):
        features.set_epoch(epoch)
        seen.append(features.__getitems__(list(range(6)))[0][:, 0].tolist())
    assert seen == [[1, 2, 0, 1, 2, 0], [2, 0, 1, 2, 0, 1], [0, 1, 2, 0, 1, 2]]


def test_a_worker_without_rows_has_no_batch() -> None:
    sampler = ShardedSequence(1, rank=1, world_size=2)
    assert list(build_loader(dataset(), sampler, batch_size=4, drop_last=False, processes=0, pin_memory=False)) == []
