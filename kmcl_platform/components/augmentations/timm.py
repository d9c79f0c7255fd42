"""`timm`: the recipe of timm."""

from typing import TYPE_CHECKING

from kmcl_platform.components.augmentations.flip import flip
from kmcl_platform.plugins import Augmentation, register

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np


@register("timm")
class Timm(Augmentation):
    """A horizontal flip with probability 1/2, then timm's RandAugment (`rand-m9-mstd0.5-inc1`)."""

    def build(self) -> "Callable[[np.ndarray], np.ndarray]":
        from timm.data.auto_augment import rand_augment_transform

        from kmcl_platform.data.augmentation.single_images import OnPictures

        # timm draws magnitudes from a normal distribution. About one draw in fifty would reach magnitude 10, where timm
        # posterises an image to 0 bits. Pillow refuses that, so the magnitude is limited.
        return OnPictures(rand_augment_transform("rand-m9-mstd0.5-inc1", {"magnitude_max": 9.99}), first=flip)
