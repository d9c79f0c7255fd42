"""A loader of whole batches from a dataset."""

from collections.abc import Iterator
from typing import Protocol, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from kmcl_platform.data.loading.dataset import Batch
from kmcl_platform.data.loading.feature_dataset import FeatureBatches, FeatureDataset

_T = TypeVar("_T")


class Batches(Protocol):
    """What a loader is for training and evaluation: batches, again in each epoch, and their number."""

    def __iter__(self) -> Iterator[Batch]: ...

    def __len__(self) -> int: ...


def identity(batch: _T) -> _T:
    """The collate function of the loader: the datasets return whole batches already."""
    return batch


def build_loader(
    dataset: Dataset[Batch],
    sampler: Sampler[int],
    *,
    batch_size: int,
    drop_last: bool,
    processes: int,
    pin_memory: bool,
) -> Batches:
    """A loader that yields a `Batch` at a time, in the sampler's order.

    Args:
        dataset: the images or the features of one split; its `__getitems__` returns whole batches.
        sampler: the indices of this worker.
        batch_size: images in a batch of this worker.
        drop_last: leave out a last batch that is not full.
        processes: number of loader processes, which decode images and stay alive between epochs. 0: the calling process
            decodes.
        pin_memory: use page-locked memory, for faster copies of images to a GPU.
    """
    if isinstance(dataset, FeatureDataset):
        # Its rows need no decoding: other processes would only cost time.
        return FeatureBatches(dataset, sampler, batch_size=batch_size, drop_last=drop_last)
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        drop_last=drop_last,
        num_workers=processes,
        pin_memory=pin_memory,
        # Starting the processes takes time. They see a new epoch in the shared memory of the dataset.
        persistent_workers=processes > 0,
        collate_fn=identity,
        # Without a generator of its own, the loader would draw a number from the global generator in each epoch, and so
        # change the draws of training.
        generator=torch.Generator(),
    )
