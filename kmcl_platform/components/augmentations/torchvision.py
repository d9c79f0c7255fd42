"""`torchvision`: the recipe of torchvision."""

from typing import TYPE_CHECKING

from kmcl_platform.plugins import Augmentation, register

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np


@register("torchvision")
class Torchvision(Augmentation):
    """A horizontal flip with probability 1/2, then torchvision's TrivialAugmentWide."""

    def build(self) -> "Callable[[np.ndarray], np.ndarray]":
        from torchvision.transforms import v2

        from kmcl_platform.data.augmentation.single_images import OnPictures

        return OnPictures(v2.Compose([v2.RandomHorizontalFlip(), v2.TrivialAugmentWide()]))
