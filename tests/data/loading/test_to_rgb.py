"""How images of more than 8 bits, transparent, indexed and animated ones become red, green and blue."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from kmcl_platform.data.loading.decode import UndecodableError, decode_image, decode_pixels
from kmcl_platform.data.loading.to_rgb import parse_colour

GREEN = (0, 128, 0)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def tiff(values_HW: np.ndarray, *, photometric: int = 1, bits: int | None = None) -> bytes:
    """An uncompressed grey TIFF (TIFF 6.0) of any type of values. Pillow can write only some of them."""
    sample_format = {"u": 1, "i": 2, "f": 3}[values_HW.dtype.kind]
    data = values_HW.tobytes()
    tags = [
        (256, 4, values_HW.shape[1]),
        (257, 4, values_HW.shape[0]),
        (258, 3, bits or values_HW.itemsize * 8),
        (259, 3, 1),
        (262, 3, photometric),
        (273, 4, 8),
        (277, 3, 1),
        (278, 4, values_HW.shape[0]),
        (279, 4, len(data)),
        (339, 3, sample_format),
    ]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(tags)) + entries + bytes(4)


def greys(data: bytes) -> list[int]:
    """The grey levels of the first row."""
    pixels_HW3 = decode_pixels(data)
    assert (pixels_HW3 == pixels_HW3[..., :1]).all()
    return [int(level) for level in pixels_HW3[0, :, 0]]


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ([0, 256, 32768, 65535], "<u2", [0, 1, 128, 255]),
        # Signed and 32-bit values: the range of the file.
        ([-1000, 0, 1000], "<i2", [0, 128, 255]),
        ([0, 500, 1000], "<i4", [0, 128, 255]),
        ([-(2**31), 0, 2**31 - 1], "<i4", [0, 128, 255]),
        ([0, 2**31, 2**32 - 1], "<u4", [0, 128, 255]),
        ([7, 7, 7], "<i4", [0, 0, 0]),
        # Floating point: values from 0 to 1 keep this range. Others get the range of the file.
        ([0.0, 0.5, 1.0], "<f4", [0, 128, 255]),
        ([0.2, 0.2, 0.4], "<f4", [51, 51, 102]),
        ([0.0, 127.5, 255.0], "<f4", [0, 128, 255]),
        ([-1.0, 0.0, 1.0], "<f4", [0, 128, 255]),
        ([280.0, 290.0, 300.0], "<f4", [0, 128, 255]),
        ([0.0, np.nan, 1.0, np.inf, -np.inf], "<f4", [0, 0, 255, 255, 0]),
    ],
)
def test_values_of_more_than_8_bits_are_scaled_by_the_rules(
    values: list[float], kind: str, expected: list[int]
) -> None:
    assert greys(tiff(np.array([values], dtype=kind))) == expected


def test_other_formats_of_16_bits_are_scaled_too() -> None:
    levels = np.array([[0, 256, 32768, 65535]], dtype=np.uint16)
    for data in (
        encoded(Image.fromarray(levels), "PNG"),
        encoded(Image.fromarray(levels), "JPEG2000"),
        b"P5 4 1 65535\n" + levels.astype(">u2").tobytes(),
    ):
        assert greys(data) == [0, 1, 128, 255]
    assert greys(b"P5 2 1 4095\n" + np.array([0, 4095], dtype=">u2").tobytes()) == [0, 255]


def test_a_tiff_that_declares_12_bits_has_that_range() -> None:
    # Two values of 12 bits in three bytes: 0xFFF and 0x800.
    whole = tiff(np.zeros((1, 2), dtype="<u2"))
    data = whole[:8] + b"\xff\xf8\x00\x00" + whole[12:]
    data = data.replace(struct.pack("<HHII", 258, 3, 1, 16), struct.pack("<HHII", 258, 3, 1, 12))
    assert greys(data) == [255, 128]


@pytest.mark.parametrize("kind", ["<u1", "<u2", "<f4"])
def test_a_tiff_that_stores_white_as_zero_is_inverted(kind: str) -> None:
    values = np.array([[0, np.iinfo(kind).max if kind != "<f4" else 1]], dtype=kind)
    assert greys(tiff(values, photometric=0)) == [255, 0]


def test_an_image_without_a_finite_value_is_refused() -> None:
    with pytest.raises(UndecodableError, match="no pixel has a finite value"):
        decode_pixels(tiff(np.full((2, 2), np.nan, dtype="<f4")))


@pytest.mark.parametrize(
    ("values", "kind", "used"),
    [
        ([0, 65535], "<u2", 1.0),
        ([0, 4095], "<u2", 4095 / 65535),
        ([3, 3], "<u2", None),
        ([0.25, 0.5], "<f4", 0.25),
        ([0, 3], "<i4", 1.0),
        ([0, 3], "<u1", None),
    ],
)
def test_the_used_part_of_the_range_is_measured(values: list[float], kind: str, used: float | None) -> None:
    assert decode_image(tiff(np.array([values], dtype=kind))).used_range == pytest.approx(used)


def half_transparent() -> Image.Image:
    """A red pixel, a transparent one, and one of half-transparent black."""
    return Image.fromarray(np.array([[[255, 0, 0, 255], [9, 9, 9, 0], [0, 0, 0, 128]]], dtype=np.uint8))


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_an_alpha_channel_is_composited(kind: str) -> None:
    data = encoded(half_transparent(), kind, **({"lossless": True, "exact": True} if kind == "WEBP" else {}))
    image = decode_image(data)
    assert image.is_transparent
    assert image.pixels_HW3.tolist() == [[[255, 0, 0], [255, 255, 255], [127, 127, 127]]]
    assert decode_pixels(data, background=GREEN).tolist() == [[[255, 0, 0], [0, 128, 0], [0, 64, 0]]]


def test_every_other_kind_of_transparency_is_composited() -> None:
    """Of each picture the first pixel is black and the second one is transparent."""
    two = np.array([[0, 1]], dtype=np.uint8)
    palette = Image.fromarray(two, "P")
    palette.putpalette([0, 0, 0, 200, 10, 10])
    pictures = {
        "LA": encoded(Image.fromarray(np.array([[[0, 255], [0, 0]]], dtype=np.uint8), "LA"), "PNG"),
        "palette, one entry, PNG": encoded(palette, "PNG", transparency=1),
        "palette, one entry, GIF": encoded(palette, "GIF", transparency=1),
        "palette, alpha values": encoded(palette, "PNG", transparency=b"\xff\x00"),
        "grey with one transparent value": encoded(Image.fromarray(two * 90), "PNG", transparency=90),
        "colour with one transparent value": encoded(
            Image.fromarray(two[..., None].repeat(3, 2) * np.array([0, 0, 255], np.uint8)),
            "PNG",
            transparency=(0, 0, 255),
        ),
        "16-bit grey with one transparent value": encoded(
            Image.fromarray(two.astype(np.uint16) * 300), "PNG", transparency=300
        ),
        "1 bit": encoded(Image.fromarray(two.astype(bool)), "PNG", transparency=1),
    }
    wrong = {
        name: (image.pixels_HW3.tolist(), image.is_transparent)
        for name, data in pictures.items()
        for image in [decode_image(data, background=GREEN)]
        if image.pixels_HW3.tolist() != [[[0, 0, 0], [0, 128, 0]]] or not image.is_transparent
    }
    assert wrong == {}


def test_a_transparent_16_bit_colour_is_found() -> None:
    """Pillow keeps the upper 8 bits of the pixels and all 16 of the transparent colour."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    row = b"\0" + struct.pack(">6H", 0, 0, 0, 0x1234, 0x5678, 0x9ABC)
    png = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0))
        + chunk(b"tRNS", struct.pack(">3H", 0x1234, 0x5678, 0x9ABC))
        + chunk(b"IDAT", zlib.compress(row))
        + chunk(b"IEND", b"")
    )
    assert decode_pixels(png, background=GREEN).tolist() == [[[0, 0, 0], [0, 128, 0]]]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_an_opaque_alpha_channel_changes_nothing(mode: str) -> None:
    opaque = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(2, 2, 3))
    image = decode_image(encoded(opaque.convert(mode), "PNG"), background=GREEN)
    assert not image.is_transparent
    assert (image.pixels_HW3 == np.asarray(opaque.convert(mode).convert("RGB"))).all()


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF", "AVIF"])
def test_the_first_frame_of_several_is_used(kind: str) -> None:
    red, blue = Image.new("RGB", (8, 8), (255, 0, 0)), Image.new("RGB", (8, 8), (0, 0, 255))
    lossless = {"lossless": True} if kind == "WEBP" else {}
    pixels = decode_pixels(encoded(red, kind, save_all=True, append_images=[blue], **lossless))
    assert np.abs(pixels.astype(int) - [255, 0, 0]).max() < 10


def test_colours_are_read_or_refused() -> None:
    assert [parse_colour(text) for text in ("white", "black", "#0a0B0c")] == [(255,) * 3, (0,) * 3, (10, 11, 12)]
    for text in ("", "red", "#fff", "#12345g", "#1234567"):
        with pytest.raises(ValueError, match="valid: white, black, or a colour such as #7f7f7f"):
            parse_colour(text)
