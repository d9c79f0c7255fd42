"""`rand_augment`: RandAugment (Cubuk et al., 2019, arXiv 1909.13719) with its two settings as options."""

from typing import TYPE_CHECKING

from pydantic import Field

from kmcl_platform.plugins import Augmentation, register

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from kmcl_platform.plugins.augmentation import BatchAugment


@register("rand_augment")
class RandAugment(Augmentation):
    """A horizontal flip with probability 1/2, then torchvision's RandAugment."""

    operations: int = Field(default=2, ge=1, le=14)
    """Number of random operations on each image, one after the other."""
    magnitude: int = Field(default=9, ge=0, le=30)
    """Strength of each operation."""

    def build(self) -> "Callable[[np.ndarray], np.ndarray]":
        from torchvision.transforms import v2

        from kmcl_platform.data.augmentation.single_images import OnPictures

        rand_augment = v2.RandAugment(num_ops=self.operations, magnitude=self.magnitude)
        return OnPictures(v2.Compose([v2.RandomHorizontalFlip(), rand_augment]))

    def build_batched(self) -> "BatchAugment":
        from kmcl_platform.data.augmentation.batches import BatchFlip, BatchRandAugment, InOrder

        return InOrder(BatchFlip(), BatchRandAugment(self.operations, self.magnitude))
