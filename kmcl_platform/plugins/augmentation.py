"""`Augmentation`: the base class of augmentations."""

from typing import TYPE_CHECKING, ClassVar

from kmcl_platform.plugins.component import Component

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np


class Augmentation(Component):
    """Random changes of training images.

    An augmentation of your own has options as fields and the method `build`. `data.augmentation: NAME` chooses it.

    Attributes:
        changes_images: there are changes. Only `none` has none.
    """

    kind: ClassVar[str] = "augmentation"
    package: ClassVar[str] = "augmentations"
    changes_images: ClassVar[bool] = True

    @classmethod
    def find_problem(cls) -> str | None:
        if not cls.changes_images or cls.build is not Augmentation.build:
            return None
        return "a class without the method `build`; valid: a class that has it"

    def build(self) -> "Callable[[np.ndarray], np.ndarray]":
        """A function of one image, which has its size already: from pixels_SS3 to pixels_SS3, both uint8.

        It draws from the global random states of torch, NumPy or Python. The platform sets them for each image and
        epoch, and restores them. So the draws do not depend on the process or on other images.
        """
        raise NotImplementedError(f"{type(self).__name__} has no method `build`")
