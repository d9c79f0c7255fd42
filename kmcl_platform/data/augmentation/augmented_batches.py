"""The batches of a loader, changed at random on the device that trains.

Legend of shapes: B batch, K classes, S = image_size pixels.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

import numpy as np
import torch

from kmcl_platform.data.augmentation.batches import draw_epoch
from kmcl_platform.data.augmentation.single_images import AugmentationResultError
from kmcl_platform.plugins.augmentation import BatchAugment


class _Loader(Protocol):
    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]: ...

    def __len__(self) -> int: ...


class AugmentedBatches:
    """A loader whose images are changed after they were sent to the device.

    Each image has its own draws in each epoch, which do not depend on the number of workers.
    """

    def __init__(
        self,
        loader: _Loader,
        augment: BatchAugment,
        *,
        order: Iterable[int],
        epoch: Callable[[], int],
        num_images: int,
        seed: int,
        device: torch.device,
    ) -> None:
        """
        Args:
            loader: images_B3SS, uint8, and targets_BK.
            augment: the changes.
            order: the indices of the images as the loader has them. Each iteration gives those of the epoch.
            epoch: returns the epoch that begins.
            num_images: of the split.
            seed: 0 or more.
            device: where the images are changed.
        """
        self._loader, self._augment = loader, augment
        self._order, self._epoch, self._num_images = order, epoch, num_images
        self._seed, self._device = seed, device

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        indices = np.fromiter(self._order, dtype=np.int64)
        draws = draw_epoch(self._seed, self._epoch(), self._num_images, self._augment.num_draws)[indices]
        start = 0
        for images_B3SS, targets_BK in self._loader:
            stop = start + len(images_B3SS)
            yield self._change(images_B3SS, draws[start:stop]), targets_BK
            start = stop

    @torch.no_grad()
    def _change(self, images_B3SS: torch.Tensor, draws_BX: np.ndarray) -> torch.Tensor:
        on_device = images_B3SS.to(self._device, non_blocking=True)
        return self._augment(on_device, draws_BX)


def check_batched_form(augment: BatchAugment, pixels_SS3: np.ndarray, num_images: int) -> None:
    """Change a batch of copies of one image on the CPU, as a training would.

    Args:
        augment: the changes.
        pixels_SS3: uint8.
        num_images: B.

    Raises:
        AugmentationResultError: the number of draws is not valid, or the result is no batch of the same shape.
    """
    num_draws = getattr(augment, "num_draws", None)
    if not isinstance(num_draws, int) or isinstance(num_draws, bool) or num_draws < 1:
        raise AugmentationResultError(f"`num_draws` is {num_draws!r}; valid: a whole number, 1 or more")
    images_B3SS = torch.from_numpy(np.stack([pixels_SS3] * num_images)).permute(0, 3, 1, 2)
    result = augment(images_B3SS.clone(), draw_epoch(0, 1, num_images, num_draws))
    if not isinstance(result, torch.Tensor) or result.shape != images_B3SS.shape or result.dtype != torch.uint8:
        shown = (
            f"{result.dtype} of shape {tuple(result.shape)}"
            if isinstance(result, torch.Tensor)
            else f"type {type(result).__name__}"
        )
        raise AugmentationResultError(
            f"got a result of {shown} from `build_batched`; valid: a tensor of uint8 of shape "
            f"{tuple(images_B3SS.shape)}, as the images"
        )
