"""The digest of a split's pictures: equal as long as their bytes and their order are equal.

A manifest's own hash is not enough for that: of pictures in files it has only the paths. Reading all files for each
trial would be slow, so a digest is kept under a *stamp*: the paths, sizes, times and inodes of the files. The stamp has
the time of the last change of the inode, which no program can set. So a file that was overwritten has another stamp,
also if its size is the same and its time of modification was set back.
"""

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.data.storage.shard_index import to_facts
from kmcl_platform.errors import DataError
from kmcl_platform.files.atomic_write import make_folder, write_atomically
from kmcl_platform.messages import show_path

_SETTLED_SECONDS = 2.0
"""A digest is kept if no file was changed for so long. A file system's clock has ticks: of two changes in one tick, the
stamp shows one only."""


@dataclass(frozen=True)
class PictureDigest:
    """The pictures of a split.

    Attributes:
        content: hexadecimal, of the pictures' bytes in their order; not of their names, labels and classes.
        stamp: of the files as they were when they were read. Empty: the pictures are not single files.
    """

    content: str
    stamp: str


def digest_pictures(manifest: Manifest, split: str, known: Path) -> PictureDigest:
    """The digest of a split's pictures as they are now.

    Args:
        manifest: where the pictures are.
        split: one of `SPLITS`.
        known: a folder of digests by their stamps; made if needed.

    Raises:
        DataError: a picture's file cannot be read.
        OSError: the folder cannot be written to.
    """
    rows = manifest.split(split)
    if "bytes" in rows.column_names:
        return PictureDigest(_hash_column(rows["bytes"], "bytes"), "")
    if manifest.packing is not None:
        # The facts have the hash of each shard, which is compared when a shard is fetched.
        return PictureDigest(_hash_column(rows["image"], json.dumps(to_facts(manifest.packing))), "")
    try:
        return digest_files(_paths(manifest, split), known)
    except UnreadableFile as error:
        raise DataError(
            f"manifest {manifest.name!r}, split {split!r}, row {error.row}, image {show_path(error.path)}: "
            f"cannot be read ({error.reason}); valid: an image file"
        ) from None


def digest_files(paths: Sequence[Path], known: Path | None) -> PictureDigest:
    """The digest of the content of files.

    Args:
        paths: absolute ones.
        known: a folder of digests by their stamps; made if needed. None: the files are read.

    Raises:
        UnreadableFile: a file cannot be read.
        OSError: the folder cannot be written to.
    """
    stamp, changed = _stamp(paths)
    if known is not None:
        try:
            return PictureDigest((known / stamp).read_text(), stamp)
        except FileNotFoundError:
            pass
    started = time.time()
    digest = hashlib.sha256()
    for row, path in enumerate(paths):
        with _named(row, path), path.open("rb") as file:
            # The hash of each file, so that its end is part of the whole hash.
            digest.update(hashlib.file_digest(file, "sha256").digest())
    content = digest.hexdigest()
    if known is not None and changed < started - _SETTLED_SECONDS and _stamp(paths)[0] == stamp:
        make_folder(known)
        write_atomically(known / stamp, content)
    return PictureDigest(content, stamp)


class UnreadableFile(OSError):
    """A file cannot be read.

    Attributes:
        row: its place in the sequence of files.
        path: its path.
        reason: why, in one line.
    """

    def __init__(self, row: int, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.row, self.path, self.reason = row, path, reason


@contextmanager
def _named(row: int, path: Path) -> Iterator[None]:
    try:
        yield
    # A path with a NUL character is a ValueError.
    except (OSError, ValueError) as error:
        raise UnreadableFile(row, path, " ".join(f"{type(error).__name__}: {error}".split())) from None


def _stamp(paths: Sequence[Path]) -> tuple[str, float]:
    """The stamp, and the time of the last change of a file."""
    digest, changed = hashlib.sha256(), 0.0
    for row, path in enumerate(paths):
        with _named(row, path):
            # Of the file that a link leads to.
            status = path.stat()
        facts = [str(path), status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
        digest.update(json.dumps(facts).encode())
        changed = max(changed, status.st_ctime)
    return digest.hexdigest(), changed


def _paths(manifest: Manifest, split: str) -> list[Path]:
    # Absolute, because the current folder of another process is another one.
    root = (manifest.root or Path()).absolute()
    return [root / image for image in manifest.split(split)["image"].to_pylist()]


def _hash_column(values: pa.ChunkedArray, kind: str) -> str:
    digest = hashlib.sha256(kind.encode())
    # Lengths first: without them, "ab" + "c" and "a" + "bc" would have the same hash.
    digest.update(pc.binary_length(values).to_numpy().astype("<i8").tobytes())
    for value in values:
        # Without a copy: encoded pictures may be large.
        digest.update(value.as_buffer())
    return digest.hexdigest()
