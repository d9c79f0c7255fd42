"""One image, from its encoded bytes to upright red, green and blue.

Training, evaluation, the check of a manifest, prediction, serving and the pictures of mistakes all decode here, so that
the same file has the same pixels everywhere. torchcodec decodes JPEG files if it is installed, because it is faster.
Pillow gives the same pixels, and decodes everything else.

Legend of shapes: H, W pixels of the upright image, or of a JPEG decoded at a half, a quarter or an eighth of that.

Orientation: a camera stores a picture as the sensor saw it, with a tag (EXIF 274, in some files XMP) that says how to
turn it. The decoders treat this tag differently: Pillow turns TIFF files and no others, torchcodec turns JPEG files.
Here every format is turned, once. A tag that is damaged or has another value than 1 to 8 has no effect.
"""

import io
import struct
import zlib

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from kmcl_platform.data.loading.to_rgb import WHITE, Colour, RgbImage, to_rgb

try:
    from torchcodec.decoders import decode_jpeg
except (ImportError, OSError, RuntimeError):
    # It is not installed, or too old for this function, or made for another torch. Pillow decodes all files then.
    decode_jpeg = None

# Pillow's decoders raise all of these for broken files; OSError is only the most common.
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
# Many phones write JPEG files with a second picture behind the first, for which Pillow has a format name of its own.
_JPEG_FORMATS = ("JPEG", "MPO")
_START_OF_SCAN, _APP1 = 0xDA, 0xE1


class UndecodableError(Exception):
    """Bytes that are not a whole image; the text is the decoder's reason, in one line."""


def decode_pixels(encoded: bytes, *, at_least: int | None = None, background: Colour = WHITE) -> np.ndarray:
    """The upright image as red, green and blue: pixels_HW3, uint8, perhaps read-only.

    Args:
        at_least: a JPEG may be decoded at a half, a quarter or an eighth of its size, as long as height and width are
            this or more. This is several times faster for large photographs. None: at its own size.
        background: the colour behind transparent pixels.

    Raises:
        UndecodableError: the bytes are not an image, or the image is cut off or damaged.
    """
    return decode_image(encoded, at_least=at_least, background=background).pixels_HW3


def decode_image(encoded: bytes, *, at_least: int | None = None, background: Colour = WHITE) -> RgbImage:
    """As `decode_pixels`, together with what the conversion to 8 bits met.

    Raises:
        UndecodableError: as `decode_pixels`.
    """
    with _open(encoded) as image:
        try:
            # Other modes of JPEG (CMYK) need Pillow's conversion.
            rgb = _decode_jpeg(image, encoded, at_least) if _is_plain_jpeg(image) else None
            if rgb is None:
                image.load()
                rgb = to_rgb(image, background)
            return rgb._replace(pixels_HW3=turn_upright(rgb.pixels_HW3, _orientation(image)))
        except _DECODER_ERRORS as error:
            raise UndecodableError(_reason(error)) from None


def read_size(encoded: bytes) -> tuple[int, int]:
    """Width and height as they are stored; the pixels are not decoded.

    Raises:
        UndecodableError: the bytes are not an image.
    """
    with _open(encoded) as image:
        return image.size


def _open(encoded: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(encoded))
    except UnidentifiedImageError:
        # Pillow's own text contains the address of an object in memory, which is different each time.
        raise UndecodableError("UnidentifiedImageError: no known image format") from None
    except _DECODER_ERRORS as error:
        raise UndecodableError(_reason(error)) from None


def _is_plain_jpeg(image: Image.Image) -> bool:
    return image.format in _JPEG_FORMATS and image.mode in ("RGB", "L")


def _decode_jpeg(image: Image.Image, encoded: bytes, at_least: int | None) -> RgbImage | None:
    """The pixels of a JPEG as they are stored, by the fastest way; None: Pillow has to decode the whole of it."""
    if at_least is not None and min(image.size) >= 2 * at_least:
        # Pillow then decodes at the smallest of 1/2, 1/4 and 1/8 that is at least this size.
        image.draft(image.mode, (at_least, at_least))
        return None
    if decode_jpeg is None:
        return None
    # torchcodec would turn the image by its own reading of the EXIF data, which Pillow's can differ from.
    bare = _without_exif(encoded) if "exif" in image.info else encoded
    try:
        # The pixels are the same as Pillow's, to the last bit, in two thirds of the time.
        return RgbImage(decode_jpeg(bare).permute(1, 2, 0).numpy())
    except RuntimeError:
        # Pillow says better what is wrong, or reads what this decoder cannot.
        return None


def _without_exif(encoded: bytes) -> bytes:
    """A JPEG file without its EXIF segments; every other byte stays."""
    kept, place = [encoded[:2]], 2
    # The segments before the scan; after it there is only compressed data.
    while encoded[place : place + 1] == b"\xff" and encoded[place + 1] != _START_OF_SCAN:
        if encoded[place + 1] == 0xFF:  # Any number of these bytes may stand before a marker.
            place += 1
            continue
        # A marker has two bytes. The length that follows counts itself, but not the marker.
        end = place + 2 + int.from_bytes(encoded[place + 2 : place + 4], "big")
        segment = encoded[place:end]
        if segment[1] != _APP1 or segment[4:10] != b"Exif\0\0":
            kept.append(segment)
        place = end
    return b"".join([*kept, encoded[place:]])


def _orientation(image: Image.Image) -> object:
    """The orientation that is still to be applied to a loaded image: 1 to 8, or anything else for none."""
    if image.format == "TIFF":
        return None  # Pillow has applied it while loading.
    try:
        return image.getexif().get(ExifTags.Base.Orientation)
    except _DECODER_ERRORS:
        # The pixels are whole. Viewers show such a file as it is stored.
        return None


def turn_upright(pixels_HW3: np.ndarray, orientation: object) -> np.ndarray:
    """Apply an EXIF orientation (CIPA DC-008, tag 274): contiguous pixels; the given ones if nothing is to be done.

    The tag says which sides of the upright picture the first row and the first column of the stored one are.
    """
    if orientation not in range(2, 9):
        return pixels_HW3
    # Of the eight ways to turn a picture, the last four exchange rows and columns.
    turned_HW3 = pixels_HW3.transpose(1, 0, 2) if orientation in (5, 6, 7, 8) else pixels_HW3
    if orientation in (3, 4, 7, 8):
        turned_HW3 = turned_HW3[::-1]
    if orientation in (2, 3, 6, 7):
        turned_HW3 = turned_HW3[:, ::-1]
    # torch cannot read arrays that run backwards.
    return np.ascontiguousarray(turned_HW3)


def _reason(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
