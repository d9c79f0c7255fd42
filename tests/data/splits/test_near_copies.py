"""Near copies: pictures stored again are found, and pictures that only resemble each other are not."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter
from sklearn.datasets import load_sample_images

from kmcl_platform.data.builtin.digits import build_digits
from kmcl_platform.data.loading.decode import decode_pixels
from kmcl_platform.data.splits.near_copies import find_near_pairs, fingerprint, join_near_copies


def encode(image: Image.Image, kind: str = "PNG", **options: int) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def pairs(*encoded: bytes) -> list[list[int]]:
    found: list[list[int]] = find_near_pairs(np.stack([fingerprint(decode_pixels(one)) for one in encoded])).tolist()
    return found


@pytest.fixture(scope="module")
def photographs() -> list[Image.Image]:
    """Two photographs, and parts of them that show something else."""
    whole = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    return [*whole, *(image.crop((x, 150, x + 256, 406)) for image in whole for x in (0, 256))]


@pytest.mark.parametrize("again", ["JPEG 90", "JPEG 75", "JPEG 50", "WEBP 80", "half"])
def test_a_picture_that_is_stored_again_is_found(again: str, photographs: list[Image.Image]) -> None:
    def store(image: Image.Image) -> bytes:
        if again == "half":
            return encode(image.resize((image.width // 2, image.height // 2)))
        return encode(image, again.split()[0], quality=int(again.split()[1]))

    count = len(photographs)
    found = pairs(*map(encode, photographs), *map(store, photographs))
    assert found == [[number, number + count] for number in range(count)]


def test_digits_on_noise_are_not_copies() -> None:
    manifest = build_digits(num_train=600, num_val=200, num_test=200)
    assert pairs(*manifest.table["bytes"].to_pylist()) == []


def test_pictures_of_one_layout_are_not_copies() -> None:
    """Pictures like X-rays: they have a common form, and smooth differences of a sixth of its contrast."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[-1:1:128j, -1:1:128j]
    layout = 60 + 120 * np.exp(-2 * x**2 - y**2) - 90 * np.exp(-16 * (np.abs(x) - 0.4) ** 2 - 3 * y**2)
    images = []
    for _ in range(200):
        own = gaussian_filter(rng.normal(size=layout.shape), 6)
        values = layout + 6 * own / own.std() + rng.normal(0, 3, layout.shape)
        images.append(Image.fromarray(values.clip(0, 255).astype(np.uint8)))
    assert pairs(*map(encode, images)) == []
    assert pairs(encode(images[0]), encode(images[0], "JPEG", quality=50)) == [[0, 1]]


def test_plain_pictures_are_not_copies() -> None:
    rng = np.random.default_rng(0)
    plain = [Image.new("RGB", (64, 64), (200, 200, 200)), Image.new("RGB", (64, 64), (201, 200, 200))]
    noise = [Image.fromarray(rng.normal(128, 20, (64, 64, 3)).clip(0, 255).astype(np.uint8)) for _ in range(20)]
    assert pairs(*map(encode, [*plain, *noise])) == []


def test_another_colour_or_another_object_is_not_a_copy(photographs: list[Image.Image]) -> None:
    pixels = np.asarray(photographs[0])
    marked = pixels.copy()
    marked[:40, :60] = 255 - marked[:40, :60]
    # Red and blue exchanged: the grey levels, which are the mean of the three, stay.
    others = [Image.fromarray(np.ascontiguousarray(pixels[:, :, ::-1])), Image.fromarray(marked)]
    assert pairs(*map(encode, [photographs[0], *others])) == []


def test_more_copies_than_neighbours_are_one_group(photographs: list[Image.Image]) -> None:
    encoded = [encode(photographs[0], "JPEG", quality=quality) for quality in range(50, 90, 2)]
    assert join_near_copies(np.arange(20), encoded, None).tolist() == [0] * 20


def test_groups_are_joined(photographs: list[Image.Image], tmp_path: Path) -> None:
    """Rows 0 and 3 are the same file. Row 2 is that picture, stored again. Row 4 is not an image."""
    for name, content in (
        ("a.png", encode(photographs[0])),
        ("b.png", encode(photographs[1])),
        ("c.jpg", encode(photographs[0], "JPEG", quality=75)),
        ("d.png", encode(photographs[0])),
        ("e.png", b"no image"),
    ):
        (tmp_path / name).write_bytes(content)
    steps: list[tuple[str, int, int]] = []
    names = ["a.png", "b.png", "c.jpg", "d.png", "e.png"]
    found = join_near_copies(np.array([0, 1, 2, 0, 4]), names, tmp_path, lambda *step: steps.append(step))
    assert found.tolist() == [0, 1, 0, 0, 4]
    assert steps == [("decoding images", 4, 4)]
