"""Random changes of whole batches of images, on the device that trains.

The draws of an image come from a table of the epoch, at the image's own row. So they do not depend on the number of
workers, on the device or on other images.

Legend of shapes: B batch, N images of a split, S = image_size pixels, X random numbers of an image.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from kmcl_platform.data.augmentation import operations
from kmcl_platform.plugins.augmentation import BatchAugment

_MAGNITUDES = 31
"""The magnitudes of RandAugment are 0 to 30."""


def draw_epoch(seed: int, epoch: int, num_images: int, num_draws: int) -> np.ndarray:
    """draws_NX: the random numbers of all images of a split in one epoch, float32 in [0, 1)."""
    return np.random.default_rng([seed, epoch]).random((num_images, num_draws), dtype=np.float32)


class InOrder:
    """Some changes, one after the other."""

    def __init__(self, *changes: BatchAugment) -> None:
        self._changes = changes
        self.num_draws = sum(change.num_draws for change in changes)

    def __call__(self, images_B3SS: Tensor, draws_BX: np.ndarray) -> Tensor:
        """As `BatchAugment`."""
        start = 0
        for change in self._changes:
            images_B3SS = change(images_B3SS, draws_BX[:, start : start + change.num_draws])
            start += change.num_draws
        return images_B3SS


class BatchFlip:
    """A horizontal flip with probability 1/2."""

    num_draws = 1

    def __call__(self, images_B3SS: Tensor, draws_BX: np.ndarray) -> Tensor:
        """As `BatchAugment`."""
        flipped_B111 = _send(draws_BX < 0.5, images_B3SS.device).view(-1, 1, 1, 1)
        return torch.where(flipped_B111, images_B3SS.flip(3), images_B3SS)


class BatchCutout:
    """A box of one random colour at a random place of each image, as `augmentations.cutout` draws it."""

    num_draws = 5

    def __init__(self, fraction: float) -> None:
        """
        Args:
            fraction: the height and width of the box, as a fraction of the image's; above 0, at most 1.
        """
        self._fraction = fraction

    def __call__(self, images_B3SS: Tensor, draws_BX: np.ndarray) -> Tensor:
        """As `BatchAugment`."""
        size = images_B3SS.shape[-1]
        side = round(self._fraction * size)
        centres_B2 = np.floor(draws_BX[:, :2] * np.float32(size))
        colours_B3 = _send(np.floor(draws_BX[:, 2:] * np.float32(256)).astype(np.uint8), images_B3SS.device)
        start_B2 = _send(centres_B2.astype(np.int64) - side // 2, images_B3SS.device)
        places_S = torch.arange(size, device=images_B3SS.device)
        inside_B2S = (places_S >= start_B2.unsqueeze(2)) & (places_S < start_B2.unsqueeze(2) + side)
        rows_BS, columns_BS = inside_B2S.unbind(1)
        box_B1SS = (rows_BS.unsqueeze(2) & columns_BS.unsqueeze(1)).unsqueeze(1)
        return torch.where(box_B1SS, colours_B3[:, :, None, None], images_B3SS)


class BatchRandAugment:
    """RandAugment (Cubuk et al., 2019, arXiv 1909.13719) with torchvision's operations and strengths."""

    def __init__(self, operations: int, magnitude: int) -> None:
        """
        Args:
            operations: on each image, one after the other; 0 or more.
            magnitude: strength of each operation, 0 to 30.
        """
        self._operations, self._magnitude = operations, magnitude
        self.num_draws = 2 * operations

    def __call__(self, images_B3SS: Tensor, draws_BX: np.ndarray) -> Tensor:
        """As `BatchAugment`."""
        for number in range(self._operations):
            kinds_B = np.floor(draws_BX[:, 2 * number] * np.float32(len(OPERATIONS))).astype(np.int64)
            signs_B = np.where(draws_BX[:, 2 * number + 1] < 0.5, -1.0, 1.0)
            images_B3SS = apply_operations(
                images_B3SS, [OPERATIONS[kind] for kind in kinds_B], signs_B, self._magnitude
            )
        return images_B3SS


_MOVES = ("shear_x", "shear_y", "translate_x", "translate_y", "rotate")
_BLENDS = ("brightness", "saturation", "contrast", "sharpness")
_FIXED = ("posterize", "solarize", "autocontrast", "equalize")
OPERATIONS = ("identity", *_MOVES, *_BLENDS, *_FIXED)
"""The operations of RandAugment, all equally probable."""


def apply_operations(images_B3SS: Tensor, names: Sequence[str], signs_B: np.ndarray, magnitude: int) -> Tensor:
    """One operation on each image.

    Args:
        images_B3SS: uint8. It is not changed.
        names: of `OPERATIONS`, one for each image.
        signs_B: the direction of each operation that has one, 1 or -1.
        magnitude: strength of the operations, 0 to 30.
    """
    device, size = images_B3SS.device, images_B3SS.shape[-1]
    # Images of one operation become neighbours. The host knows how many they are, so it need not ask the device.
    kinds_B = np.array(["move" if name in _MOVES else name for name in names])
    order_B = np.argsort(kinds_B, kind="stable")
    rows_B = _send(order_B, device)
    factors_B = _send((1.0 + _at(magnitude, 0.9) * signs_B[order_B]).astype(np.float32), device)
    result = images_B3SS.clone()
    kinds, starts, counts = np.unique(kinds_B[order_B], return_index=True, return_counts=True)
    for kind, start, count in zip(kinds.tolist(), starts.tolist(), counts.tolist(), strict=True):
        if kind == "identity":
            continue
        part = slice(start, start + count)
        images = images_B3SS.index_select(0, rows_B[part])
        if kind == "move":
            matrices = [_matrix(names[row], magnitude, float(signs_B[row]), size) for row in order_B[part]]
            fixed_B23 = operations.to_fixed_point(np.stack(matrices))
            changed = operations.move(images, _send(fixed_B23, device))
        elif kind in _BLENDS:
            changed = getattr(operations, kind)(images, factors_B[part])
        elif kind == "posterize":
            changed = operations.posterize(images, round(_at(magnitude, 4.0, 8.0)))
        elif kind == "solarize":
            changed = operations.solarize(images, 255.0 * _at(magnitude, 0.0, 1.0))
        else:
            changed = getattr(operations, kind)(images)
        result.index_copy_(0, rows_B[part], changed)
    return result


def _matrix(name: str, magnitude: int, sign: float, size: int) -> np.ndarray:
    """The argument of `move` of an operation: its inverse, from the result to the image."""
    if name in ("shear_x", "shear_y"):
        slope = sign * _at(magnitude, 0.3)
        return np.array([[1.0, slope * (name == "shear_x"), 0.0], [slope * (name == "shear_y"), 1.0, 0.0]])
    if name in ("translate_x", "translate_y"):
        # 150 of 331 pixels is the largest way in the paper's search space; whole pixels.
        way = sign * math.trunc(_at(magnitude, 150.0 / 331.0 * size))
        return np.array([[1.0, 0.0, -way * (name == "translate_x")], [0.0, 1.0, -way * (name == "translate_y")]])
    angle, centre = math.radians(sign * _at(magnitude, 30.0)), size / 2
    cosine, sine = math.cos(angle), math.sin(angle)
    # Around the centre, counter-clockwise for a viewer; y points down.
    return np.array([[cosine, -sine, centre * (1 - cosine + sine)], [sine, cosine, centre * (1 - sine - cosine)]])


def _at(magnitude: int, highest: float, lowest: float = 0.0) -> float:
    """The strength of a magnitude, between `lowest` and `highest`.

    As torchvision computes it: where a place or a grey level lies between two whole numbers, the last digit decides.
    """
    return float(torch.linspace(lowest, highest, _MAGNITUDES)[magnitude])


def _send(values: np.ndarray, device: torch.device) -> Tensor:
    """Numbers of the host on the device, without waiting for it."""
    return torch.from_numpy(np.ascontiguousarray(values)).to(device, non_blocking=True)
