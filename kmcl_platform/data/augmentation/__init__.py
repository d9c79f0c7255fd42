"""Random changes of training images: one by one while they are loaded, or in batches on the device that trains."""

from typing import TYPE_CHECKING

from kmcl_platform.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from kmcl_platform.data.augmentation.augmented_batches import (
        AugmentedBatches as AugmentedBatches,
    )
    from kmcl_platform.data.augmentation.batches import (
        BatchCutout as BatchCutout,
        BatchFlip as BatchFlip,
        BatchRandAugment as BatchRandAugment,
        InOrder as InOrder,
    )
    from kmcl_platform.data.augmentation.single_images import (
        OnPictures as OnPictures,
        SeededDraws as SeededDraws,
        cutout as cutout,
    )

__getattr__, __all__ = lazy_exports(__name__, __file__)
