"""`Augmentation`: the base class of augmentations."""

from typing import TYPE_CHECKING, ClassVar, Protocol

from kmcl_platform.plugins.component import Component

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import torch


class BatchAugment(Protocol):
    """Random changes of a batch of images on the device that trains.

    Shapes: B batch, S = image_size pixels, X random numbers of an image.

    Attributes:
        num_draws: X, 1 or more.
    """

    num_draws: int

    def __call__(self, images_B3SS: "torch.Tensor", draws_BX: "np.ndarray") -> "torch.Tensor":
        """The changed images, uint8, on the same device.

        Args:
            images_B3SS: uint8, on any device. It may be changed.
            draws_BX: random numbers in [0, 1), float32, on the host. They depend only on the seed, the epoch and the
                image, so a result that uses no others is the same for any number of workers.
        """


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

    @classmethod
    def has_batched_form(cls) -> bool:
        """Whether there is `build_batched`."""
        return cls.build_batched is not Augmentation.build_batched

    def build(self) -> "Callable[[np.ndarray], np.ndarray]":
        """A function of one image, which has its size already: from pixels_SS3 to pixels_SS3, both uint8.

        It draws from the global random states of torch, NumPy or Python. The platform sets them for each image and
        epoch, and restores them. So the draws do not depend on the process or on other images.
        """
        raise NotImplementedError(f"{type(self).__name__} has no method `build`")

    def build_batched(self) -> BatchAugment:
        """The same changes for whole batches, for `data.augment_batches`. An augmentation need not have this method.

        The host should not wait for the device in it: no value of a tensor is read.
        """
        raise NotImplementedError(f"{type(self).__name__} has no method `build_batched`")
