"""Decoded and resized images on a node's disk, for all trials that read the same images at the same size.

The cache of a split is a folder `KEY/`:

- `pixels`: N x S x S x 3 bytes, at their full size from the beginning, so that a full disk is noticed there;
- `present`: N bytes, 1 where an image is in `pixels`;
- `system`: the start of the operating system in which the cache is being filled, or `whole`.

KEY is a hash of everything that decides the pixels: the bytes of the images in their order, the size, the background,
and how they may be decoded. Each image is added when a process decodes it first. Pixels reach the disk at some time
after `present` does, so after a crash of the machine a cache that was not whole is not believed.

Legend of shapes: N images of the split, S = image_size pixels.
"""

import contextlib
import hashlib
import json
import logging
import mmap
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.data.manifest.picture_digest import digest_pictures
from kmcl_platform.data.storage.shard_cache import BOUND_VARIABLE, node_cache
from kmcl_platform.files.file_lock import FileLock

FORMAT = 1
"""Part of every key; raised when the same image would get other pixels."""

_PIXELS, _PRESENT, _SYSTEM, _WHOLE = "pixels", "present", "system", "whole"
_BOOT = Path("/proc/sys/kernel/random/boot_id")
# Only folders with such names are ever removed.
_KEY = re.compile(r"[0-9a-f]{64}")

_logger = logging.getLogger(__name__)


class PixelCache:
    """The images of a split at one size. It can be pickled for loader processes, which share it."""

    def __init__(self, folder: Path, rows: int, size: int) -> None:
        """
        Args:
            folder: as `open_pixel_cache` made it.
            rows: N.
            size: S.
        """
        self.size = size
        self._folder = folder
        self._rows = rows
        self._open()

    def _open(self) -> None:
        # Open files stay usable when another process removes the folder to make room.
        self._file = os.open(self._folder / _PIXELS, os.O_RDWR)
        with (self._folder / _PRESENT).open("r+b") as present:
            self._present = mmap.mmap(present.fileno(), self._rows)
        mapped = mmap.mmap(self._file, 0, access=mmap.ACCESS_READ)
        self._pixels_NSS3 = np.frombuffer(mapped, dtype=np.uint8).reshape(self._rows, self.size, self.size, 3)

    def __getstate__(self) -> dict[str, Any]:
        return {"size": self.size, "_folder": self._folder, "_rows": self._rows}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self._open()

    def __del__(self) -> None:
        # Not there if the files could not be opened.
        if "_file" in self.__dict__:
            os.close(self._file)

    def read(self, row: int) -> np.ndarray | None:
        """pixels_SS3 of an image, read-only. None: it is not in the cache yet."""
        return self._pixels_NSS3[row] if self._present[row] else None

    def write(self, row: int, pixels_SS3: np.ndarray) -> None:
        """Add an image. Several processes may add the same one at the same time, with the same pixels."""
        data = np.ascontiguousarray(pixels_SS3)
        # Not through the memory map: if the disk fails, that would end the process.
        os.pwrite(self._file, data.data, row * data.nbytes)
        self._present[row] = 1


def open_pixel_cache(
    manifest: Manifest, split: str, *, size: int, background: str, at_least: int | None
) -> PixelCache | None:
    """The cache of a split on this node, empty if there was none.

    The caches are in the folder `pixels` of the node's cache of shards, and have a bound of the same size. Those
    that were opened longest ago make room for others.

    Args:
        manifest: where the images are.
        split: `train`, `val` or `test`.
        size: S.
        background: the colour behind transparent pixels, as in a search file.
        at_least: how the images are decoded, as for `decode_pixels`.

    Returns:
        None, with a line in the log: the images do not fit into the bound or on the disk, or the disk cannot be
        written.

    Raises:
        DataError: an image's file cannot be read, or the bound is not a size.
    """
    shards = node_cache()
    home, bound = shards.folder / "pixels", shards.max_bytes
    rows = manifest.split(split).num_rows
    num_bytes = rows * size * size * 3
    where = f"manifest {manifest.name!r}, split {split!r}"
    if num_bytes > bound:
        _logger.warning(
            "%s: pixels are not cached: %s bytes; valid: at most %s=%d", where, f"{num_bytes:,}", BOUND_VARIABLE, bound
        )
        return None
    try:
        facts = {
            "format": FORMAT,
            "pictures": digest_pictures(manifest, split, home / "digests").content,
            "size": size,
            "background": background,
            "at_least": at_least,
        }
        folder = home / hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
        # One lock for all caches of the node: two processes must not use the same free bytes.
        with FileLock(home / "room.lock").hold():
            if not _is_usable(folder, rows, num_bytes):
                shutil.rmtree(folder, ignore_errors=True)
                _make_room(home, num_bytes, bound)
                _make(folder, rows, num_bytes)
            os.utime(folder)
            return PixelCache(folder, rows, size)
    except OSError as error:
        _logger.warning("%s: pixels are not cached: %s: %s", where, home, error.strerror or error)
        return None


def _is_usable(folder: Path, rows: int, num_bytes: int) -> bool:
    """Whether a cache can be believed; one that is complete is written to the disk first."""
    try:
        sizes = (folder / _PRESENT).stat().st_size, (folder / _PIXELS).stat().st_size
        system, present = (folder / _SYSTEM).read_text(), (folder / _PRESENT).read_bytes()
    except OSError:
        return False
    if sizes != (rows, num_bytes) or system not in (_WHOLE, _this_system()):
        return False
    if system != _WHOLE and all(present):
        for name in (_PIXELS, _PRESENT):
            with (folder / name).open("rb") as file:
                os.fsync(file.fileno())
        (folder / _SYSTEM).write_text(_WHOLE)
    return True


def _make_room(home: Path, num_bytes: int, bound: int) -> None:
    """Remove the caches that were opened longest ago until another one fits."""
    sizes: dict[Path, int] = {}
    for folder in home.iterdir():
        if _KEY.fullmatch(folder.name):
            # Without pixels, it is the rest of one that was not made to its end.
            pixels = folder / _PIXELS
            sizes[folder] = pixels.stat().st_size if pixels.is_file() else 0
    for folder in sorted(sizes, key=lambda folder: folder.stat().st_mtime):
        if sum(sizes.values()) + num_bytes <= bound:
            return
        shutil.rmtree(folder, ignore_errors=True)
        del sizes[folder]


def _make(folder: Path, rows: int, num_bytes: int) -> None:
    folder.mkdir(parents=True)
    try:
        with (folder / _PIXELS).open("wb") as file:
            # All blocks now: on a full disk this is an error, and a later write could end the process.
            os.posix_fallocate(file.fileno(), 0, num_bytes)
        (folder / _PRESENT).write_bytes(bytes(rows))
        (folder / _SYSTEM).write_text(_this_system())
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _this_system() -> str:
    """A name of this start of the operating system. Without one, a cache is used by one process only."""
    with contextlib.suppress(OSError):
        return _BOOT.read_text().strip()
    return f"process {os.getpid()}"
