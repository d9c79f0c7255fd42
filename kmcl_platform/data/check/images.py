"""The faults of a manifest's images: missing, unreadable, or present twice. Each image is read and decoded once.

Legend of shapes: N images, E pairs.
"""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from kmcl_platform.data.loading.decode import UndecodableError, decode_image
from kmcl_platform.data.manifest.table_errors import Fault
from kmcl_platform.data.progress import Progress
from kmcl_platform.data.splits.near_copies import find_near_pairs, fingerprint
from kmcl_platform.data.storage.shard_reader import ShardReader
from kmcl_platform.errors import DataError
from kmcl_platform.messages import show_path, show_value

_LEAST_RANGE = 1 / 16
"""An image with more than 8 bits that uses less of its range keeps fewer than 16 of the 256 grey levels."""


class ImageFindings(NamedTuple):
    """What a check of images found.

    Attributes:
        faults: a search would stop at such an image, or its scores would be wrong.
        warnings: a search runs and its scores are right, but the user should know.
        same: pairs of rows whose images have the same content, the earlier row first.
    """

    faults: list[Fault]
    warnings: list[Fault]
    same: list[tuple[int, int]]


class _Finding(NamedTuple):
    kind: str
    reason: str


class _Image(NamedTuple):
    """One image after it was read.

    Attributes:
        sha256: of the encoded bytes; None: they could not be read.
        fault: why the image cannot be used; None: it can be.
        warnings: what the user should know about it.
        fingerprint: see `near_copies`; None: the image could not be decoded.
    """

    sha256: str | None = None
    fault: _Finding | None = None
    warnings: tuple[_Finding, ...] = ()
    fingerprint: np.ndarray | None = None


def check_images(
    images: pa.ChunkedArray,
    splits: Sequence[str | None] | None,
    column: str,
    root: Path,
    progress: Progress,
    shards: ShardReader | None = None,
) -> ImageFindings:
    """Read and decode every image, in as many threads as there are cores: the decoders release Python's lock.

    Args:
        images: N paths, or N encoded images. Empty ones are left out: they are faults of the table.
        splits: the split of each image; None: not known.
        column: the name of the images' column, `image` or `bytes`.
        root: the folder that relative paths start from.
        progress: is called after each image.
        shards: reads the images of a packed manifest; None: it is not packed.
    """
    found = ImageFindings([], [], [])
    row_of_path: dict[str, int] = {}
    row_of_content: dict[str, int] = {}
    fingerprints: dict[int, np.ndarray] = {}
    pool = ThreadPoolExecutor(os.cpu_count() or 1)
    try:
        # In the order of the rows, whichever thread is first: "earlier" always means the smaller row.
        results = pool.map(lambda row: _read(images[row].as_py(), root, shards), range(len(images)))
        for row, image in enumerate(results):
            progress("images", row + 1, len(images))
            stored = images[row].as_py()
            if not stored:
                continue
            shown = _show(stored)
            # The same path twice has the same content too. Only the path is noted.
            if isinstance(stored, str):
                earlier = row_of_path.setdefault(os.path.normpath(root / stored), row)
                if earlier != row:
                    _note_same(found, "image", shown, row, earlier, column, splits)
                    continue
            if image.fault:
                message = f"got {shown}: {image.fault.reason}; valid: an image file"
                found.faults.append(Fault(image.fault.kind, message, row, column))
            found.warnings.extend(
                Fault(warning.kind, f"got {shown}: {warning.reason}", row, column) for warning in image.warnings
            )
            if image.sha256:
                earlier = row_of_content.setdefault(image.sha256, row)
                if earlier != row:
                    found.same.append((earlier, row))
                    _note_same(found, "content", shown, row, earlier, column, splits)
                # Only the first image of equal content: an exact copy must not be reported as a near copy too.
                elif image.fingerprint is not None:
                    fingerprints[row] = image.fingerprint
    finally:
        # After an error or Ctrl-C, images that wait in the queue are not decoded.
        pool.shutdown(cancel_futures=True)
    if splits is not None and fingerprints:
        found.warnings.extend(_near_copies(fingerprints, images, splits, column))
    return found


def _near_copies(
    fingerprints: dict[int, np.ndarray], images: pa.ChunkedArray, splits: Sequence[str | None], column: str
) -> list[Fault]:
    """A warning for each row that has a near copy before it in another split. It is not a fault: it may be wrong."""
    rows = list(fingerprints)
    warned: dict[int, Fault] = {}
    for pair in find_near_pairs(np.stack(list(fingerprints.values()))):
        earlier, row = rows[pair[0]], rows[pair[1]]
        if splits[earlier] != splits[row] and row not in warned:
            message = f"got {_show(images[row].as_py())} in {splits[row]}, which looks like row {earlier}"
            message += f", {_show(images[earlier].as_py())} in {splits[earlier]}"
            warned[row] = Fault("near copies in two splits", message, row, column)
    return [warned[row] for row in sorted(warned)]


def _show(stored: str | bytes) -> str:
    return show_value(stored) if isinstance(stored, str) else f"{len(stored)} bytes"


def _note_same(
    found: ImageFindings,
    what: str,
    shown: str,
    row: int,
    earlier: int,
    column: str,
    splits: Sequence[str | None] | None,
) -> None:
    """Note a copy. Between two splits it is a fault: the score would count trained images. Within one it costs time."""
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
        return _Image()
    if isinstance(stored, str) and shards is not None:
        try:
            encoded = shards.read(stored)
        except DataError as error:
            return _Image(fault=_Finding("unreadable image", str(error)))
    elif isinstance(stored, str):
        try:
            encoded = (root / stored).read_bytes()
        except FileNotFoundError:
            return _Image(
                fault=_Finding("missing image", f"no such file ({show_value(show_path(root / stored))[1:-1]})")
            )
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            return _Image(fault=_Finding("unreadable image", reason))
    else:
        encoded = stored
    sha256 = hashlib.sha256(encoded).hexdigest()
    try:
        image = decode_image(encoded)
    except UndecodableError as error:
        return _Image(sha256, _Finding("unreadable image", str(error)))
    warnings = []
    if image.is_transparent:
        warnings.append(_Finding("transparent image", "data.background shows through (white by default)"))
    if image.used_range is not None and image.used_range < _LEAST_RANGE:
        warnings.append(
            _Finding(
                "few grey levels",
                f"its values use {image.used_range:.1%} of the range of their type, so the image is almost of one "
                "grey; valid: values that are scaled to the whole range before they are stored",
            )
        )
    return _Image(sha256, None, tuple(warnings), fingerprint(image.pixels_HW3))
