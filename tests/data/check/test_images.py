"""The warnings of a check about images that can be decoded, but may not look as the user expects."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from kmcl_platform.data.check.images import ImageFindings, check_images


def encode(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def check(*images: bytes) -> ImageFindings:
    column = pa.chunked_array([pa.array(images, pa.binary())])
    return check_images(column, ["train"] * len(images), "bytes", Path(), lambda *_: None)


def test_a_transparent_image_is_a_warning() -> None:
    """Without the warning, the user would not know that the network sees the background."""
    clear = np.zeros((4, 4, 4), dtype=np.uint8)
    opaque = clear + np.array([0, 0, 0, 255], dtype=np.uint8)
    found = check(encode(Image.fromarray(clear)), encode(Image.fromarray(opaque)))
    assert found.faults == []
    assert [(warning.kind, warning.row, warning.column) for warning in found.warnings] == [
        ("transparent image", 0, "bytes")
    ]
    assert "data.background shows through (white by default)" in str(found.warnings[0])


def test_a_long_path_makes_a_short_message() -> None:
    column = pa.chunked_array([pa.array(["x" * 1_000_000])])
    found = check_images(column, ["train"], "image", Path(), lambda *_: None)
    assert [len(str(fault)) < 1000 for fault in found.faults] == [True]


@pytest.mark.parametrize(("largest", "warned"), [(65535, False), (4097, False), (4095, True), (255, True)])
def test_16_bit_values_that_use_little_of_their_range_are_a_warning(largest: int, warned: bool) -> None:
    values = np.array([[0, largest]], dtype=np.uint16)
    found = check(encode(Image.fromarray(values)))
    assert found.faults == []
    assert [warning.kind for warning in found.warnings] == ["few grey levels"] * warned
    if warned:
        assert f"use {largest / 65535:.1%} of the range of their type" in str(found.warnings[0])
