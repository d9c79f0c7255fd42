"""Augmentations of training images. No augmentation crops, because a crop can remove the object that a label names.

Legend of shapes: S = image_size pixels.
"""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from PIL import Image
from timm.data.auto_augment import rand_augment_transform
from torchvision.transforms import v2

Augment = Callable[[np.ndarray], np.ndarray]
"""A function of pixels_SS3 that returns pixels_SS3, both uint8.

It may change its argument. It draws from the global random states.
"""


class Released:
    """The recipe of the authors' code: Cutout of half the height and width, then RandAugment.

    RandAugment applies 2 operations at magnitude 9.
    """

    def __init__(self) -> None:
        self._rand_augment = v2.RandAugment(num_ops=2, magnitude=9)

    def __call__(self, pixels_SS3: np.ndarray) -> np.ndarray:
        return np.asarray(self._rand_augment(Image.fromarray(cutout(pixels_SS3, 0.5))))


class Flip:
    """A horizontal flip with probability 1/2."""

    def __call__(self, pixels_SS3: np.ndarray) -> np.ndarray:
        # A copy: torch takes no array that is read backwards.
        return pixels_SS3[:, ::-1].copy() if random.random() < 0.5 else pixels_SS3


class Timm:
    """A horizontal flip with probability 1/2, then timm's RandAugment (`rand-m9-mstd0.5-inc1`)."""

    def __init__(self) -> None:
        self._flip = Flip()
        # timm draws magnitudes from a normal distribution. About one draw in fifty would reach magnitude 10, where timm
        # posterises an image to 0 bits. Pillow refuses that, so the magnitude is limited.
        self._rand_augment = rand_augment_transform("rand-m9-mstd0.5-inc1", {"magnitude_max": 9.99})

    def __call__(self, pixels_SS3: np.ndarray) -> np.ndarray:
        return np.asarray(self._rand_augment(Image.fromarray(self._flip(pixels_SS3))))


class Torchvision:
    """A horizontal flip with probability 1/2, then torchvision's TrivialAugmentWide."""

    def __init__(self) -> None:
        self._augment = v2.Compose([v2.RandomHorizontalFlip(), v2.TrivialAugmentWide()])

    def __call__(self, pixels_SS3: np.ndarray) -> np.ndarray:
        return np.asarray(self._augment(Image.fromarray(pixels_SS3)))


AUGMENTATIONS: dict[str, Callable[[], Augment]] = {
    "flip": Flip,
    "released": Released,
    "timm": Timm,
    "torchvision": Torchvision,
}
"""The augmentations by their names in a search file (`data.augmentation`)."""


def cutout(pixels_SS3: np.ndarray, fraction: float) -> np.ndarray:
    """The image with a box of one random colour at a random place.

    The centre of the box is inside the image. The part of the box that is outside has no effect.

    Args:
        pixels_SS3: uint8. It is changed, unless it is read-only.
        fraction: the height and width of the box, as a fraction of the image's; above 0, at most 1.

    Reference: DeVries and Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout", 2017.
    """
    size = len(pixels_SS3)
    side = round(fraction * size)
    row, column, *colour = (int(torch.randint(high, ())) for high in (size, size, 256, 256, 256))
    top, left = row - side // 2, column - side // 2
    pixels_SS3 = pixels_SS3 if pixels_SS3.flags.writeable else pixels_SS3.copy()
    # Only the beginning needs a bound: a negative one would count from the end, and NumPy cuts off an end that is too
    # large.
    pixels_SS3[max(top, 0) : top + side, max(left, 0) : left + side] = colour
    return pixels_SS3


class SeededDraws:
    """Applies an augmentation with draws that depend only on a seed, the epoch and the image's index.

    The libraries draw from the global random states of torch, numpy and Python. These states are restored afterwards,
    because training draws from them too.
    """

    def __init__(self, seed: int) -> None:
        """
        Args:
            seed: 0 or more.
        """
        self._seed = seed

    def apply(
        self, augment: Augment, images: Iterable[np.ndarray], keys: Sequence[tuple[int, int]]
    ) -> list[np.ndarray]:
        """Augment images.

        Args:
            augment: one of `AUGMENTATIONS`, made.
            images: pixels_SS3 of each image, uint8.
            keys: the epoch and the index of each image.

        Raises:
            ValueError: there are more or fewer keys than images.
        """
        augmented = []
        with _restored_random_states():
            for image, (epoch, index) in zip(images, keys, strict=True):
                # SeedSequence mixes the numbers, so the draws of neighbouring images and epochs are unrelated.
                state = np.random.SeedSequence([self._seed, epoch, index]).generate_state(2)
                # torch.manual_seed would also look for devices of every kind, for each image.
                torch.default_generator.manual_seed(int(state[0]))
                random.seed(int(state[1]))
                np.random.seed(state[1])
                augmented.append(augment(image))
        return augmented


@contextmanager
def _restored_random_states() -> Iterator[None]:
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        random.setstate(states[1])
        np.random.set_state(states[2])
