"""Which images of a dataset are the same picture: files with exactly the same bytes."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from kmcl_platform.data.manifest.table_errors import Fault, check_faults
from kmcl_platform.data.progress import Progress, silent
from kmcl_platform.messages import show_path, show_value

_THREADS = 8
"""More than there are cores: a network disk makes the threads wait most of the time."""
_SAMPLE_BYTES = 4096
_ROUND = 4096
"""Files that are compared between two reports of progress."""


def find_identical(
    images: Sequence[str] | Sequence[bytes], root: Path | None, where: str, progress: Progress = silent
) -> np.ndarray:
    """For each of N images the first row with the same bytes. It is the image's own row if no earlier row has them.

    Files are compared in three steps, each only among files that the step before found equal: by size, by three samples
    of 4 KiB, and by the SHA-256 of all bytes. Few photographs have the same size, so most files are never read. An
    empty file is not a picture and is never a copy.

    Args:
        images: N paths of files, or N encoded images.
        root: the folder that relative paths start from; None: the current folder.
        where: the dataset's place, for messages.
        progress: is called with the number of images whose sizes are known.

    Returns:
        first_N, int64.

    Raises:
        FaultyTable: files cannot be read. It names each of them by its row.
    """
    first_N = np.arange(len(images))
    steps: list[Callable[[str], Hashable]] = [os.path.getsize, _sample, _hash_file]
    groups: Iterable[list[int]]
    if images and isinstance(images[0], bytes):
        groups = _group(enumerate(hashlib.sha256(image).digest() for image in images))  # type: ignore[arg-type]
    else:
        groups = [list(range(len(images)))]
        faults: list[Fault] = []
        with ThreadPoolExecutor(_THREADS) as pool:
            for number, step in enumerate(steps):
                rows = [row for group in groups for row in group]
                keys: dict[int, Hashable] = {}
                # `pool.map` makes a future of every path before the first result, so it gets the paths in rounds.
                for start in range(0, len(rows), _ROUND):
                    chunk = rows[start : start + _ROUND]
                    paths = [os.path.join(root or "", images[row]) for row in chunk]  # type: ignore[arg-type]  # noqa: PTH118
                    for row, path, (key, reason) in zip(chunk, paths, pool.map(_tried(step), paths), strict=True):
                        keys[row] = key
                        if reason:
                            message = f"got {show_value(show_path(path))}: {reason}; valid: an image file"
                            faults.append(Fault("unreadable image", message, row))
                    if number == 0:
                        progress("comparing images", start + len(chunk), len(rows))
                # After each step: a file that cannot be read has no key, and must not be compared by the next step.
                check_faults(where, faults)
                # Only rows of one group are compared, so the keys of earlier steps still count. In the first step the
                # key is the size: a file of size 0 leaves all groups.
                groups = [
                    part
                    for group in groups
                    for part in _group((row, keys[row]) for row in group if number or keys[row])
                ]
    for group in groups:
        first_N[group] = group[0]
    return first_N


def _group(keyed: Iterable[tuple[int, Hashable]]) -> list[list[int]]:
    """Rows of the same key, where there are two or more."""
    rows: dict[Hashable, list[int]] = defaultdict(list)
    for row, key in keyed:
        rows[key].append(row)
    return [group for group in rows.values() if len(group) > 1]


def _tried(step: Callable[[str], Hashable]) -> Callable[[str], tuple[Hashable, str]]:
    def run(path: str) -> tuple[Hashable, str]:
        try:
            return step(path), ""
        except OSError as error:
            return None, error.strerror or str(error)

    return run


def _sample(path: str) -> bytes:
    with open(path, "rb") as file:  # noqa: PTH123
        size = os.fstat(file.fileno()).st_size
        parts = []
        # The beginning alone is not enough: the files of one camera or program often begin with the same header.
        for start in (0, size // 2, max(0, size - _SAMPLE_BYTES)):
            file.seek(start)
            parts.append(file.read(_SAMPLE_BYTES))
    return hashlib.sha256(b"".join(parts)).digest()


def _hash_file(path: str) -> bytes:
    with open(path, "rb") as file:  # noqa: PTH123
        return hashlib.file_digest(file, "sha256").digest()
