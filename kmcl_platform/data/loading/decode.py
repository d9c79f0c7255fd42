"""One image, from its encoded bytes.

Legend of shapes: H, W pixels as stored, or of a JPEG decoded at a half, a quarter or an eighth of that.
"""

import io
import struct
import zlib

import numpy as np
from PIL import Image, UnidentifiedImageError
from torchcodec.decoders import decode_jpeg

# What Pillow's decoders raise for broken files: OSError is only the most common.
_DECODER_ERRORS = (
    OSError,
    ValueError,
    TypeError,
    SyntaxError,
    LookupError,
    ArithmeticError,
    EOFError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


class UndecodableError(Exception):
    """Bytes that are no whole image; its text is the decoder's reason, in one line."""


def decode_image(encoded: bytes) -> Image.Image:
    """The image, every pixel of it decoded.

    Raises:
        UndecodableError: the bytes are no image, or one that is cut off or damaged.
    """
    with _open(encoded) as image:
        _load(image)
        return image


def decode_pixels(encoded: bytes, *, at_least: int | None = None) -> np.ndarray:
    """The image as red, green and blue: pixels_HW3, uint8, perhaps read-only.

    Args:
        at_least: a JPEG may be decoded at a half, a quarter or an eighth of its size, so long as height and width are
            this or more: several times quicker for large photographs. None: at its own size.

    Raises:
        UndecodableError: the bytes are no image, or one that is cut off or damaged.
    """
    with _open(encoded) as image:
        if image.format == "JPEG" and image.mode in ("RGB", "L"):
            if at_least is not None and min(image.size) >= 2 * at_least:
                image.draft(image.mode, (at_least, at_least))
            else:
                try:
                    # The pixels that Pillow gives, to the last bit, in two thirds of the time.
                    decoded: np.ndarray = decode_jpeg(encoded).permute(1, 2, 0).numpy()
                    return decoded
                except RuntimeError:
                    # Pillow says better what is wrong, or reads what this decoder does not.
                    pass
        _load(image)
        return np.asarray(_to_rgb(image))


def _open(encoded: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(encoded))
    except UnidentifiedImageError:
        # Pillow's own words name the object in memory, at another address each time.
        raise UndecodableError("UnidentifiedImageError: no known image format") from None
    except _DECODER_ERRORS as error:
        raise UndecodableError(_reason(error)) from None


def _load(image: Image.Image) -> None:
    try:
        image.load()
    except _DECODER_ERRORS as error:
        raise UndecodableError(_reason(error)) from None


def _reason(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        # Pillow would clip 16-bit grey levels at 255: nearly all of a medical image would turn white.
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image.convert("RGB")
