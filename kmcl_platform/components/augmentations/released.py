"""`released`: the recipe of the authors' code."""

from functools import partial
from typing import TYPE_CHECKING

from kmcl_platform.plugins import Augmentation, register

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from kmcl_platform.plugins.augmentation import BatchAugment


@register("released")
class Released(Augmentation):
    """Cutout of half the height and width, then RandAugment with 2 operations at magnitude 9."""

    def build(self) -> "Callable[[np.ndarray], np.ndarray]":
        from torchvision.transforms import v2

        from kmcl_platform.data.augmentation.single_images import OnPictures, cutout

        return OnPictures(v2.RandAugment(num_ops=2, magnitude=9), first=partial(cutout, fraction=0.5))

    def build_batched(self) -> "BatchAugment":
        from kmcl_platform.data.augmentation.batches import BatchCutout, BatchRandAugment, InOrder

        return InOrder(BatchCutout(0.5), BatchRandAugment(operations=2, magnitude=9))
