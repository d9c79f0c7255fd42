"""From the many kinds of pixels in image files to red, green and blue with 8 bits each.

Legend of shapes: H, W pixels.

The rules, which are the same for every file format:

- **8 bits for each channel**: the values stay as they are. Palettes are looked up; CMYK, LAB and YCbCr are converted
  without colour profiles.
- **Unsigned integers of 9 to 16 bits**: the range of the type becomes 0 to 255, so the upper 8 bits remain. The images
  of a dataset can then be compared with each other. A TIFF file that declares 12 bits has the range of 12 bits.
- **Floating-point values that all lie between 0 and 1**: 0 becomes black and 1 becomes white.
- **All other values** (signed integers, integers of 32 bits, other floating-point values): the smallest value of the
  file becomes black and its largest becomes white. The range of these types says nothing about a picture: a 32-bit
  file rarely uses a thousandth of it, and the zero of signed values is arbitrary. NaN becomes black.
- **Transparency** (an alpha channel, a palette with alpha, one colour declared as transparent) is composited on a
  background. The colour under transparent pixels is arbitrary, often black.
- **TIFF files that store white as 0** are inverted.
- **Animations and files with several pages**: the first frame.
"""

import re
from typing import NamedTuple

import numpy as np
from PIL import Image

Colour = tuple[int, int, int]
"""Red, green, blue: 0 to 255 each."""
WHITE: Colour = (255, 255, 255)
_NAMED: dict[str, Colour] = {"white": WHITE, "black": (0, 0, 0)}

# Numbers of TIFF tags.
_BITS_PER_SAMPLE, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339
_WHITE_IS_ZERO, _UNSIGNED = 0, 1


class RgbImage(NamedTuple):
    """An image as red, green and blue.

    Attributes:
        pixels_HW3: uint8; perhaps read-only.
        is_transparent: whether some pixel is not opaque, so that the background shows.
        used_range: for values of more than 8 bits, the part of their range that the image uses, above 0, at most 1.
            None: 8 bits, or one value only.
    """

    pixels_HW3: np.ndarray
    is_transparent: bool = False
    used_range: float | None = None


def parse_colour(text: str) -> Colour:
    """The colour of `white`, `black` or `#rrggbb`.

    Raises:
        ValueError: the text has none of these forms.

    >>> parse_colour("#ff8000")
    (255, 128, 0)
    """
    if text in _NAMED:
        return _NAMED[text]
    found = re.fullmatch("#([0-9a-fA-F]{2})([0-9a-fA-F]{2})([0-9a-fA-F]{2})", text)
    if found is None:
        raise ValueError(f"got {text!r}; valid: white, black, or a colour such as #7f7f7f")
    return int(found[1], 16), int(found[2], 16), int(found[3], 16)


def to_rgb(image: Image.Image, background: Colour) -> RgbImage:
    """Convert a decoded image by the rules above.

    Args:
        image: one frame, loaded.
        background: the colour behind transparent pixels.

    Raises:
        ValueError: the pixels have no finite value, or Pillow cannot convert their kind.
    """
    # Pillow's own conversion to RGB would cut these values off at 255.
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _deep_grey_to_rgb(image, background)
    if not image.has_transparency_data:
        return RgbImage(np.asarray(image.convert("RGB")))
    _scale_transparent_colour(image)
    layered = image.convert("RGBA")
    # An alpha channel in which every pixel is opaque is not transparency, and needs no warning.
    if np.asarray(layered.getchannel("A")).min() == 255:
        return RgbImage(np.asarray(layered.convert("RGB")))
    canvas = Image.new("RGBA", image.size, (*background, 255))
    canvas.alpha_composite(layered)
    return RgbImage(np.asarray(canvas.convert("RGB")), is_transparent=True)


def _deep_grey_to_rgb(image: Image.Image, background: Colour) -> RgbImage:
    values_HW = np.asarray(image)
    if _tiff_tag(image, _SAMPLE_FORMAT, _UNSIGNED) == _UNSIGNED and values_HW.dtype == np.int32 and _is_tiff(image):
        # Pillow has no unsigned 32-bit mode: values above 2^31 arrive as negative ones.
        values_HW = values_HW.view(np.uint32)
    bits = _declared_bits(image)
    if bits is not None:
        # The upper 8 bits. A file may contain larger values than the bits that it declares, hence the minimum.
        pixels_HW = np.minimum(values_HW >> (bits - 8), 255).astype(np.uint8)
        largest: float = 2**bits - 1
        used = (float(values_HW.max()) - float(values_HW.min())) / largest
    else:
        low, high = _value_range(values_HW)
        # float64, because the difference of two 32-bit values can be too large for their own type.
        finite_HW = np.nan_to_num(values_HW.astype(np.float64), nan=low, posinf=high, neginf=low)
        # `or 1.0`: all values of a file may be equal. They become black.
        pixels_HW = np.rint((finite_HW - low) * (255 / (high - low or 1.0))).astype(np.uint8)
        used = float(finite_HW.max() - finite_HW.min()) / (high - low or 1.0)
    if _is_tiff(image) and _tiff_tag(image, _PHOTOMETRIC, 1) == _WHITE_IS_ZERO:
        # Pillow inverts such files itself only where they have 8 bits or fewer.
        pixels_HW = 255 - pixels_HW
    pixels_HW3 = np.repeat(pixels_HW[..., np.newaxis], 3, axis=2)
    # NaN is equal to no value, so without a declared colour no pixel is transparent.
    transparent_HW = values_HW == image.info.get("transparency", np.nan)
    pixels_HW3[transparent_HW] = background
    return RgbImage(pixels_HW3, bool(transparent_HW.any()), used or None)


def _declared_bits(image: Image.Image) -> int | None:
    """The bits of unsigned integers whose whole range counts; None: the range of the file's values counts."""
    if image.mode.startswith("I;16"):
        return min(16, max(8, _tiff_tag(image, _BITS_PER_SAMPLE, 16)))
    # Pillow scales the values of a PGM file from the maximum that the file declares to 16 bits.
    return 16 if image.mode == "I" and image.format == "PPM" else None


def _value_range(values_HW: np.ndarray) -> tuple[float, float]:
    """The values that become black and white."""
    finite = values_HW[np.isfinite(values_HW)]
    if not finite.size:
        raise ValueError("no pixel has a finite value")
    low, high = float(finite.min()), float(finite.max())
    return (0.0, 1.0) if values_HW.dtype.kind == "f" and low >= 0 and high <= 1 else (low, high)


def _scale_transparent_colour(image: Image.Image) -> None:
    """Give a colour of 1 or 16 bits that is declared as transparent the 8 bits that the pixels have."""
    colour = image.info.get("transparency")
    if image.mode == "1" and colour == 1:
        image.info["transparency"] = 255  # Older versions of Pillow do not scale it.
    if isinstance(colour, tuple) and max(colour) > 255:
        image.info["transparency"] = tuple(channel >> 8 for channel in colour)


def _is_tiff(image: Image.Image) -> bool:
    return hasattr(image, "tag_v2")


def _tiff_tag(image: Image.Image, tag: int, otherwise: int) -> int:
    value = getattr(image, "tag_v2", {}).get(tag, otherwise)
    return int(value[0] if isinstance(value, tuple) else value)
