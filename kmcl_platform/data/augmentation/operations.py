"""Changes of whole batches of images on any device, with the results of Pillow to one grey level.

Nothing here reads a value back from the device, so the host never waits for a GPU.

Legend of shapes: B batch, S = image_size pixels, P = S·S pixels of an image.
"""

import math

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional

_GREY = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in a grey level (ITU-R 601-2), as Pillow's."""


_FIXED_POINT = 16
"""Binary digits after the point of a place in an image, as in Pillow."""


def move(images_B3SS: Tensor, matrices_B23: Tensor) -> Tensor:
    """Each image after an affine map, with the nearest pixel's value, and black outside of it.

    Args:
        images_B3SS: uint8.
        matrices_B23: what `to_fixed_point` returns, int32.
    """
    size = images_B3SS.shape[-1]
    places_S = torch.arange(size, dtype=torch.int32, device=images_B3SS.device)
    along_B21, down_B21, start_B21 = matrices_B23.split(1, dim=2)
    rows_cells_B2SS = (down_B21 * places_S).add_(start_B21).unsqueeze(3) + (along_B21 * places_S).unsqueeze(2)
    columns_BP, rows_BP = rows_cells_B2SS.bitwise_right_shift_(_FIXED_POINT).flatten(2).unbind(1)
    inside_BP = (columns_BP >= 0) & (columns_BP < size) & (rows_BP >= 0) & (rows_BP < size)
    # Points outside read any pixel of the image: the multiplication makes it black.
    source_BP = (rows_BP * size + columns_BP).clamp_(0, size * size - 1).long()
    pixels_B3P = images_B3SS.flatten(2).gather(2, source_BP.unsqueeze(1).expand(-1, 3, -1))
    return (pixels_B3P * inside_BP.unsqueeze(1)).view_as(images_B3SS)


def to_fixed_point(matrices_B23: np.ndarray) -> np.ndarray:
    """The affine maps of `move`, from a pixel of the result to one of the image, as whole numbers.

    Pillow counts in steps of 1/65536 of a pixel. Other numbers would choose another pixel wherever a point lies between
    two of them.

    Args:
        matrices_B23: from a point of the result to that of the image, float64. Points are (x, y, 1), in pixels from
            the image's top left corner; the centre of the first pixel is (0.5, 0.5).
    """
    matrices_B23 = matrices_B23.copy()
    # From points to the pixels whose centres they are.
    matrices_B23[:, :, 2] += 0.5 * (matrices_B23[:, :, 0] + matrices_B23[:, :, 1])
    return np.floor(matrices_B23 * 2**_FIXED_POINT + 0.5).astype(np.int32)


def brightness(images_B3SS: Tensor, factors_B: Tensor) -> Tensor:
    """Each image mixed with black; a factor of 1 changes nothing."""
    return _blend(images_B3SS, torch.zeros((), device=images_B3SS.device), factors_B)


def saturation(images_B3SS: Tensor, factors_B: Tensor) -> Tensor:
    """Each image mixed with its grey form; a factor of 1 changes nothing."""
    return _blend(images_B3SS, _grey(images_B3SS), factors_B)


def contrast(images_B3SS: Tensor, factors_B: Tensor) -> Tensor:
    """Each image mixed with its mean grey level; a factor of 1 changes nothing."""
    mean_B111 = _grey(images_B3SS).mean((1, 2, 3), keepdim=True)
    return _blend(images_B3SS, mean_B111.add_(0.5).floor_(), factors_B)


def sharpness(images_B3SS: Tensor, factors_B: Tensor) -> Tensor:
    """Each image mixed with a smoothed one; a factor of 1 changes nothing, nor do others change the outermost pixels.

    The smoothed pixel is the mean of its neighbours and of 5 times itself.
    """
    smooth_B3SS = images_B3SS.float()
    if images_B3SS.shape[-1] > 2:
        inner = smooth_B3SS[:, :, 1:-1, 1:-1]
        neighbours = torch.nn.functional.avg_pool2d(smooth_B3SS, 3, stride=1, divisor_override=1)
        # The sum of all nine has the pixel once already.
        inner.copy_(neighbours.add_(inner, alpha=4.0).div_(13.0).add_(0.5).floor_())
    return _blend(images_B3SS, smooth_B3SS, factors_B)


def posterize(images_B3SS: Tensor, bits: int) -> Tensor:
    """The images with so many bits of each value, 1 to 8."""
    return functional.posterize(images_B3SS, bits)


def solarize(images_B3SS: Tensor, threshold: float) -> Tensor:
    """The images with the values from a threshold on inverted."""
    # The values are whole numbers, and a threshold just below one would become that number in float32.
    return functional.solarize(images_B3SS, math.ceil(threshold))


def autocontrast(images_B3SS: Tensor) -> Tensor:
    """The images with each channel stretched to all grey levels."""
    return functional.autocontrast(images_B3SS)


def equalize(images_B3SS: Tensor) -> Tensor:
    """The images with each channel's grey levels equally frequent, as far as that is possible."""
    return functional.equalize(images_B3SS)


def _grey(images_B3SS: Tensor) -> Tensor:
    """grey_B1SS, whole numbers in float32."""
    red, green, blue = images_B3SS.float().unbind(1)
    grey_BSS = (red * _GREY[0]).add_(green, alpha=_GREY[1]).add_(blue, alpha=_GREY[2])
    return grey_BSS.add_(0.5).floor_().unsqueeze(1)


def _blend(images_B3SS: Tensor, other: Tensor, factors_B: Tensor) -> Tensor:
    """The other images plus a factor times the difference from them, cut off to uint8."""
    mixed = other + (images_B3SS - other).mul_(factors_B.view(-1, 1, 1, 1))
    return mixed.clamp_(0, 255).to(torch.uint8)
