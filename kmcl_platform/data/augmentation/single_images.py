"""What augmentations of training images are made of, and the seeds of their draws.

Legend of shapes: S = image_size pixels.
"""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from PIL import Image

from kmcl_platform.errors import PluginError
from kmcl_platform.plugins.faults.code_errors import show_error

Augment = Callable[[np.ndarray], np.ndarray]
"""A function of pixels_SS3 that returns pixels_SS3, both uint8.

It may change its argument. It draws from the global random states.
"""


class OnPictures:
    """A transform of Pillow images as an `Augment`, which can be pickled if the transform can."""

    def __init__(self, transform: Callable[[Image.Image], Image.Image], *, first: Augment | None = None) -> None:
        """
        Args:
            transform: of a picture.
            first: changes of the pixels before it. None: no changes.
        """
        self._transform, self._first = transform, first

    def __call__(self, pixels_SS3: np.ndarray) -> np.ndarray:
        if self._first is not None:
            pixels_SS3 = self._first(pixels_SS3)
        return np.asarray(self._transform(Image.fromarray(pixels_SS3)))


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


class AugmentationResultError(ValueError):
    """An augmentation of a user's own returned something that is not an image of the same size."""


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
            augment: the changes of one image.
            images: pixels_SS3 of each image, uint8.
            keys: the epoch and the index of each image.

        Raises:
            ValueError: there are more or fewer keys than images.
            AugmentationResultError: a result is no image of the size of its argument.
            PluginError: an augmentation asks for the end of the program.
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
                # Pixels of a file or of the cache are read-only, and an augmentation may change its argument.
                own = image if image.flags.writeable else image.copy()
                shape = own.shape
                try:
                    result = augment(own)
                except SystemExit as error:
                    # It would end the process of a loader, which then seems to be lost.
                    raise PluginError(f"the augmentation raises {show_error(error)}; valid: no error") from error
                if not isinstance(result, np.ndarray) or result.shape != shape or result.dtype != np.uint8:
                    raise AugmentationResultError(_describe_result(result, shape))
                augmented.append(result)
        return augmented


def _describe_result(result: object, shape: tuple[int, ...]) -> str:
    kind = (
        f"{result.dtype} of shape {result.shape}" if isinstance(result, np.ndarray) else f"type {type(result).__name__}"
    )
    return f"got a result of {kind}; valid: an array of uint8 of shape {shape}, as the image"


@contextmanager
def _restored_random_states() -> Iterator[None]:
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        random.setstate(states[1])
        np.random.set_state(states[2])
