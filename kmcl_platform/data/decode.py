"""One image, from its encoded bytes."""

import io
import struct
import zlib

from PIL import Image, UnidentifiedImageError

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
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            image.load()
            return image
    except UnidentifiedImageError:
        # Pillow's own words name the object in memory, at another address each time.
        raise UndecodableError("UnidentifiedImageError: no known image format") from None
    except _DECODER_ERRORS as error:
        raise UndecodableError(" ".join(f"{type(error).__name__}: {error}".split())) from None
