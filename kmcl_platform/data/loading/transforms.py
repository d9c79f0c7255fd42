"""From decoded images to the batch of pixels that the network takes.

Legend of shapes: B batch; H, W pixels of a decoded image; S = image_size pixels.
"""

from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
import torch

from kmcl_platform.data.augmentation.single_images import Augment, SeededDraws


class Transform(Protocol):
    """What a dataset does with the decoded images of a batch. It can be pickled for loader processes."""

    @property
    def decode_at_least(self) -> int | None:
        """The argument `at_least` of `decode_pixels`."""

    def __call__(self, pixels: Iterable[np.ndarray], keys: Sequence[tuple[int, int]]) -> torch.Tensor:
        """Turn B images, pixels_HW3 of any sizes, into images_B3SS, uint8, channels last.

        Args:
            pixels: the images. Each one is resized before the next one is taken: a batch of decoded photographs would
                not fit into the processor's caches, and its memory would be allocated again each time.
            keys: epoch and index of each image. Random draws may depend only on these and on the transform's seed.
        """


class EvalTransform:
    """Every image is resized, and nothing else. The same image always has the same pixels."""

    decode_at_least = None

    def __init__(self, *, image_size: int) -> None:
        """
        Args:
            image_size: height and width in pixels, 1 or more. The aspect ratio is not kept.

        Raises:
            ValueError: the size is out of its range.
        """
        self._image_size = _checked(image_size)

    def __call__(self, pixels: Iterable[np.ndarray], keys: Sequence[tuple[int, int]] = ()) -> torch.Tensor:
        """As `Transform`; the keys are not used."""
        return _batch([resize(image, self._image_size) for image in pixels], self._image_size)


class TrainTransform:
    """Every image is resized and augmented, with random draws of its own for each image and epoch.

    The result does not depend on the process that prepares an image, or on the other images of its batch.
    """

    def __init__(self, *, image_size: int, augment: Augment | None, seed: int) -> None:
        """
        Args:
            image_size: height and width in pixels, 1 or more. The aspect ratio is not kept.
            augment: the changes of one image. None: it is changed later, in its batch.
            seed: 0 or more.

        Raises:
            ValueError: the size is out of its range.
        """
        self._image_size = self.decode_at_least = _checked(image_size)
        self._augment = augment
        self._draws = SeededDraws(seed)

    def __call__(self, pixels: Iterable[np.ndarray], keys: Sequence[tuple[int, int]]) -> torch.Tensor:
        """As `Transform`."""
        resized = (resize(image, self._image_size) for image in pixels)
        if self._augment is None:
            return _batch(list(resized), self._image_size)
        return _batch(self._draws.apply(self._augment, resized, keys), self._image_size)


def resize(pixels_HW3: np.ndarray, size: int) -> np.ndarray:
    """The image at S x S pixels: pixels_SS3, uint8, bilinear and antialiased.

    Each value differs from Pillow's by one grey level at most.
    """
    if pixels_HW3.shape[:2] == (size, size):
        return pixels_HW3
    # torch warns about a read-only array, although it only reads it here.
    pixels_HW3 = pixels_HW3 if pixels_HW3.flags.writeable else pixels_HW3.copy()
    image_13HW = torch.from_numpy(pixels_HW3).unsqueeze(0).permute(0, 3, 1, 2)
    # torch recognises "channels last" by the strides of four dimensions, and then resizes bytes four times as fast as
    # Pillow.
    resized_13SS = torch.nn.functional.interpolate(image_13HW, size=(size, size), mode="bilinear", antialias=True)
    resized: np.ndarray = resized_13SS[0].permute(1, 2, 0).numpy()
    return resized


def _batch(images: Sequence[np.ndarray], size: int) -> torch.Tensor:
    pixels_BSS3 = np.empty((len(images), size, size, 3), dtype=np.uint8)
    for i, image in enumerate(images):
        # One block of memory for the batch, which passes between processes as one tensor.
        pixels_BSS3[i] = image
    return torch.from_numpy(pixels_BSS3).permute(0, 3, 1, 2)


def _checked(image_size: int) -> int:
    if image_size < 1:
        raise ValueError(f"image_size: got {image_size}; valid: 1 or more")
    return image_size
