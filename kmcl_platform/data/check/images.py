"""The faults of a manifest's images: missing, unreadable, twice, in two splits; each image is read and decoded once."""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from kmcl_platform.data.loading.decode import UndecodableError, decode_image
from kmcl_platform.data.manifest.table_errors import Fault
from kmcl_platform.data.progress import Progress
from kmcl_platform.data.storage.shard_reader import ShardReader
from kmcl_platform.errors import DataError


class ImageFindings(NamedTuple):
    """What was found."""

    faults: list[Fault]
    """A search would stop at such an image, or its score would mean something else."""
    warnings: list[Fault]
    """Worth knowing: a search runs and its scores are what they say."""
    same: list[tuple[int, int]]
    """Rows of the same content: an earlier one, and a later one."""


class _Image(NamedTuple):
    key: str
    """sha256 of the encoded bytes; "" where they could not be read."""
    kind: str = ""
    reason: str = ""


def check_images(
    images: pa.ChunkedArray,
    splits: Sequence[str | None] | None,
    column: str,
    root: Path,
    progress: Progress,
    shards: ShardReader | None = None,
) -> ImageFindings:
    """Read and decode every image, in as many threads as there are cores: Pillow decodes outside of Python's lock.

    Args:
        images: N paths, or N encoded images; a null or an empty one is passed over.
        splits: N names; None: not known.
        column: `image` or `bytes`.
        root: where relative paths start.
        progress: is called with the number of images that are done.
        shards: of a packed manifest.
    """
    found = ImageFindings([], [], [])
    same_path: dict[str, int] = {}
    same_content: dict[str, int] = {}
    pool = ThreadPoolExecutor(os.cpu_count() or 1)
    try:
        results = pool.map(lambda row: _read(images[row].as_py(), root, shards), range(len(images)))
        for row, image in enumerate(results):
            progress("images", row + 1, len(images))
            stored = images[row].as_py()
            if not stored:
                continue
            shown = repr(stored) if isinstance(stored, str) else f"{len(stored)} bytes"
            if isinstance(stored, str):
                earlier = same_path.setdefault(os.path.normpath(root / stored), row)
                if earlier != row:
                    _note_same(found, "image", shown, row, earlier, column, splits)
                    continue
            if image.kind:
                message = f"got {shown}: {image.reason}; valid: an image file"
                found.faults.append(Fault(image.kind, message, row, column))
            if image.key:
                earlier = same_content.setdefault(image.key, row)
                if earlier != row:
                    found.same.append((earlier, row))
                    _note_same(found, "content", shown, row, earlier, column, splits)
    finally:
        pool.shutdown(cancel_futures=True)
    return found


def _note_same(
    found: ImageFindings,
    what: str,
    shown: str,
    row: int,
    earlier: int,
    column: str,
    splits: Sequence[str | None] | None,
) -> None:
    """Between splits a score would count what was trained on; within one it is only waste."""
    if splits is not None and splits[row] != splits[earlier]:
        message = (
            f"got {shown} in {splits[row]}, the {what} that row {earlier} has in {splits[earlier]}; valid: one split"
        )
        found.faults.append(Fault(f"same {what} in two splits", message, row, column))
    else:
        message = f"got {shown}, the {what} of row {earlier}"
        found.warnings.append(Fault(f"same {what} twice in a split", message, row, column))


def _read(stored: str | bytes | None, root: Path, shards: ShardReader | None) -> _Image:
    if not stored:
        return _Image("")
    if isinstance(stored, str) and shards is not None:
        try:
            encoded = shards.read(stored)
        except DataError as error:
            return _Image("", "unreadable image", str(error))
    elif isinstance(stored, str):
        try:
            encoded = (root / stored).read_bytes()
        except FileNotFoundError:
            return _Image("", "missing image", f"no such file ({root / stored})")
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            return _Image("", "unreadable image", reason)
    else:
        encoded = stored
    key = hashlib.sha256(encoded).hexdigest()
    try:
        decode_image(encoded)
    except UndecodableError as error:
        return _Image(key, "unreadable image", str(error))
    return _Image(key)
