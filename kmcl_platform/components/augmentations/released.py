"""`released`: the recipe of the authors' code."""

from functools import partial
from typing import TYPE_CHECKING

from kmcl_platform.plugins import Augmentation, register

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np


@register("released")
class Released(Augmentation):
    """Cutout of half the height and width, then RandAugment with 2 operations at magnitude 9."""

    def build(self) -> "Callable[[np.ndarray], np.ndarray]":
        from torchvision.transforms import v2

        from kmcl_platform.data.loading.augmentations import OnPictures, cutout

        return OnPictures(v2.RandAugment(num_ops=2, magnitude=9), first=partial(cutout, fraction=0.5))
