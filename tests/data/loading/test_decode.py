"""Decoding: the pixels, the reduced size of a JPEG, and errors."""

import io

import numpy as np
import pytest
from PIL import Image

from kmcl_platform.data.loading.decode import UndecodableError, decode_image, decode_pixels

pytestmark = pytest.mark.usefixtures("jpeg_decoder")


def picture(mode: str, size: tuple[int, int]) -> Image.Image:
    coarse = np.random.default_rng(0).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).convert(mode)


def encoded(image: Image.Image, kind: str) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        ("RGB", "PNG"),
        ("L", "PNG"),
        ("RGBA", "PNG"),
        ("P", "PNG"),
        ("1", "PNG"),
        ("RGB", "JPEG"),
        ("L", "JPEG"),
        ("CMYK", "JPEG"),
    ],
)
def test_pixels_are_those_of_pillow(mode: str, kind: str) -> None:
    data = encoded(picture(mode, (61, 47)), kind)
    pixels = decode_pixels(data)
    assert pixels.shape == (47, 61, 3)
    assert pixels.dtype == np.uint8
    assert (pixels == np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))).all()


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize(
    ("size", "at_least", "expected"),
    [
        ((640, 480), 224, (320, 240)),
        ((500, 375), 224, (500, 375)),
        ((1600, 1200), 224, (400, 300)),
        ((448, 448), 224, (224, 224)),
        ((447, 447), 224, (447, 447)),
    ],
)
def test_a_large_jpeg_is_decoded_smaller_but_never_too_small(
    mode: str, size: tuple[int, int], at_least: int, expected: tuple[int, int]
) -> None:
    image = picture(mode, size)
    pixels = decode_pixels(encoded(image, "JPEG"), at_least=at_least)
    assert pixels.shape == (expected[1], expected[0], 3)
    small = np.asarray(image.convert("RGB").resize(expected, Image.Resampling.BOX)).astype(int)
    assert np.abs(pixels - small).mean() < 2


@pytest.mark.parametrize("at_least", [None, 16])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_cut_off_image_is_an_error(kind: str, at_least: int | None) -> None:
    data = encoded(picture("RGB", (200, 150)), kind)
    for decode in (lambda data: decode_pixels(data, at_least=at_least), decode_image):
        with pytest.raises(UndecodableError, match="truncated"):
            decode(data[: len(data) * 2 // 3])


def test_bytes_that_are_not_an_image_are_an_error() -> None:
    for decode in (decode_pixels, decode_image):
        with pytest.raises(UndecodableError, match="no known image format"):
            decode(b"not an image")
