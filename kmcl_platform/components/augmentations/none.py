"""`none`: images as they are."""

from typing import ClassVar

from kmcl_platform.plugins import Augmentation, register


@register("none")
class NoAugmentation(Augmentation):
    """No changes."""

    changes_images: ClassVar[bool] = False
