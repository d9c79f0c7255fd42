"""Finding the image files of a folder."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kmcl_platform.data.loading.decode import decode_pixels
from kmcl_platform.data.loading.image_files import HIDDEN, NO_SUFFIX, find_images, readable_suffixes
from kmcl_platform.errors import DataError

SAVED = {
    ".avif": "AVIF", ".bmp": "BMP", ".gif": "GIF", ".jfif": "JPEG", ".jpe": "JPEG", ".jpeg": "JPEG", ".jpg": "JPEG",
    ".jp2": "JPEG2000", ".j2k": "JPEG2000", ".mpo": "MPO", ".pbm": "PPM", ".pgm": "PPM", ".png": "PNG",
    ".ppm": "PPM", ".tga": "TGA", ".tif": "TIFF", ".tiff": "TIFF", ".webp": "WEBP", ".ico": "ICO", ".qoi": "QOI",
}  # fmt: skip


def test_every_suffix_that_the_decoders_read_is_found(tmp_path: Path) -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (24, 24, 3), np.uint8))
    for number, (suffix, kind) in enumerate(SAVED.items()):
        picture.save(tmp_path / f"{number}{suffix.upper() if number % 2 else suffix}", kind)
    found = find_images(tmp_path)
    assert found.others == {}
    assert {path.suffix.lower() for path in found.paths} == set(SAVED)
    for path in found.paths:
        assert decode_pixels(path.read_bytes()).shape == (24, 24, 3)


def test_other_suffixes_are_not_readable() -> None:
    assert not set(readable_suffixes()) & {".pdf", ".eps", ".ps", ".h5", ".hdf", ".mpg", ".mpeg", ".txt", ".npy", ""}


def test_what_is_left_out_is_counted_and_named(tmp_path: Path) -> None:
    for name in ("a.png", "b.txt", "c.TXT", "d", ".e.png", "deeper/f.jpg", "deeper/g.csv", ".thumbs/h.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = find_images(tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in found.paths] == ["a.png", "deeper/f.jpg"]
    assert found.others == {".txt": 2, ".csv": 1, NO_SUFFIX: 1, HIDDEN: 2}
    assert found.describe_others() == "6 files (.txt 2, hidden 2, .csv 1, no suffix 1)"
    assert find_images(tmp_path / "deeper").describe_others() == "1 file (.csv 1)"


def test_links_are_followed_but_each_folder_only_once(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.png").write_bytes(b"")
    (tmp_path / "images" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "images")
    (tmp_path / "images" / "broken.png").symlink_to(tmp_path / "gone.png")
    found = find_images(tmp_path / "images")
    assert found.paths == [tmp_path / "images" / "link" / "a.png"]
    assert found.others == {".png": 1}


def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path: Path) -> None:
    """Otherwise its images would be missing from the result without a message."""
    (tmp_path / "a.png").write_bytes(b"")
    closed = tmp_path / "closed"
    closed.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        # In a container the tests run as root, and root can read every folder.
        scandir = os.scandir

        def refuse(path: str) -> object:
            if str(path) == str(closed):
                raise PermissionError(13, "Permission denied", str(path))
            return scandir(path)

        patch.setattr(os, "scandir", refuse)
        with pytest.raises(DataError, match=f"^{closed}: cannot be read \\(Permission denied\\); valid: "):
            find_images(tmp_path)


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"^{tmp_path}: got no images; valid: files that end in .apng, .avif, "):
        find_images(tmp_path)
    with pytest.raises(DataError, match="gone: no such folder; valid: a folder with images"):
        find_images(tmp_path / "gone")


def test_a_name_that_is_not_utf8_is_found(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.png")).write_bytes(b"")
    (tmp_path / os.fsdecode(b"x.\xe9")).write_bytes(b"")
    found = find_images(tmp_path)
    assert [os.fsencode(path.name) for path in found.paths] == [b"caf\xe9.png"]
    assert found.describe_others() == "1 file (.\\xe9 1)"
