"""The features of all images of a split, computed by the workers of a group together."""

from collections.abc import Iterator

import torch
from torch.utils.data import Dataset

from kmcl_platform.data.loading.dataset import ImageDataset
from kmcl_platform.data.loading.loader import build_loader
from kmcl_platform.data.loading.samplers import ShardedSequence
from kmcl_platform.method.networks.backbone import Backbone
from kmcl_platform.training.workers.distributed import Workers

_BATCH = 64
"""Images of each worker in one forward pass."""


@torch.no_grad()
def feature_batches(
    network: Backbone, images: ImageDataset, workers: Workers, *, views: int, processes: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Compute the features of all images, view after view.

    Args:
        network: in evaluation mode, on the worker's device.
        images: N images of a split.
        workers: all of them call this, and share the images.
        views: number of views; view v has the random changes of epoch v.
        processes: decoding processes for each worker.

    Yields:
        features_BD (float32) and rows_B, the rows that the images are of, in the order of the images. Every worker gets
        all of them.

    Raises:
        UnreadableImage: an image cannot be read.
    """
    loader = build_loader(
        _WithRows(images),
        ShardedSequence(len(images), rank=workers.rank, world_size=workers.world_size),
        batch_size=_BATCH,
        drop_last=False,
        processes=processes,
        pin_memory=workers.device.type == "cuda",
    )
    for view in range(views):
        images.set_epoch(view)
        own = iter(loader)
        step = _BATCH * workers.world_size
        for start in range(0, len(images), step):
            # Some workers may have no image of a short last batch. The width is that of the network.
            batch = next(own, None)
            if batch is None:
                features_BD = torch.empty((0, network.num_features), device=workers.device)
                rows_B = torch.empty(0, dtype=torch.int64)
            else:
                pixels_B3HW = batch[0].to(workers.device, memory_format=torch.channels_last)
                features_BD, rows_B = network(pixels_B3HW).float(), batch[1]
            total = min(step, len(images) - start)
            gathered_BD = workers.gather_interleaved(features_BD, total).cpu()
            yield gathered_BD, workers.gather_interleaved(rows_B.to(workers.device), total).cpu()


class _WithRows(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """The images of a split, each with the row that it is taken from."""

    def __init__(self, images: ImageDataset) -> None:
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        images_B3HW, rows_B = self.__getitems__([index])
        return images_B3HW[0], rows_B[0]

    def __getitems__(self, indices: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        images_B3HW, rows = self._images.load(indices)
        return images_B3HW, torch.tensor(rows)
