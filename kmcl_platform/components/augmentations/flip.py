"""`flip`: horizontal flips."""

import random
from typing import TYPE_CHECKING

from kmcl_platform.plugins import Augmentation, register

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from kmcl_platform.plugins.augmentation import BatchAugment


@register("flip")
class Flip(Augmentation):
    """A horizontal flip with probability 1/2."""

    def build(self) -> "Callable[[np.ndarray], np.ndarray]":
        return flip

    def build_batched(self) -> "BatchAugment":
        from kmcl_platform.data.augmentation.batches import BatchFlip

        return BatchFlip()


def flip(pixels_SS3: "np.ndarray") -> "np.ndarray":
    """The image, or with probability 1/2 its mirror image."""
    # A copy: torch takes no array that is read backwards.
    return pixels_SS3[:, ::-1].copy() if random.random() < 0.5 else pixels_SS3
