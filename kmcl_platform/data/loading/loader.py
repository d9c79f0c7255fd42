"""A loader of whole batches over an `ImageDataset`."""

from typing import TypeVar

import torch
from torch.utils.data import DataLoader, Sampler

from kmcl_platform.data.loading.dataset import Batch, ImageDataset

_T = TypeVar("_T")


def identity(batch: _T) -> _T:
    """Collate function of the loader: `ImageDataset` returns whole batches already."""
    return batch


def build_loader(
    dataset: ImageDataset,
    sampler: Sampler[int],
    *,
    batch_size: int,
    drop_last: bool,
    processes: int,
    pin_memory: bool,
) -> DataLoader[Batch]:
    """A loader of `Batch`es in the sampler's order.

    Args:
        batch_size: images in a batch of this worker.
        drop_last: leave out a last batch that is not full.
        processes: processes that decode, kept from epoch to epoch; 0 decodes in the caller's own.
        pin_memory: page-locked memory, for faster copies to a GPU.
    """
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        drop_last=drop_last,
        num_workers=processes,
        pin_memory=pin_memory,
        persistent_workers=processes > 0,
        collate_fn=identity,
        # Its own: otherwise each pass over a loader would take a number from the generator that training draws from.
        generator=torch.Generator(),
    )
