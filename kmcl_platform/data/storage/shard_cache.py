"""A node's cache of shards from an object store. All processes of the node share it, and its size has a bound."""

import contextlib
import hashlib
import logging
import os
import re
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

from kmcl_platform.data.storage.byte_sizes import parse_size
from kmcl_platform.data.storage.location import Location
from kmcl_platform.data.storage.object_store import one_line, read_chunks
from kmcl_platform.data.storage.shard_index import Shard
from kmcl_platform.errors import DataError
from kmcl_platform.files.file_lock import FileLock

FOLDER_VARIABLE = "KMCL_CACHE"
BOUND_VARIABLE = "KMCL_CACHE_BYTES"
DEFAULT_BYTES = 32 * 2**30
_POLL_SECONDS = 0.05
# Only files with such names are ever removed: the folder may be one in which a user keeps other files.
_COPY = re.compile(r"[0-9a-f]{64}\.parquet")
_DRAFT = re.compile(r"([0-9a-f]{64})\.\d+-[0-9a-f]{8}\.tmp")

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ShardCache:
    """A folder on a local disk, shared by the processes of a node.

    A shard is stored under its sha256. The process that fetches it holds a lock with the name of that hash. A process
    that dies loses its locks, so its unfinished files are recognised and removed when room is made. The shards that
    were used longest ago make room for others. Files that the cache did not write are never removed or counted.
    """

    folder: Path
    max_bytes: int

    def fetch(self, shard: Shard, source: Location) -> Path:
        """The path of a shard's copy, which is fetched if needed.

        Another process may remove the copy at any time. Open it immediately, and fetch it again if it does not exist.

        Args:
            shard: what the manifest says about the shard.
            source: where the shard is.

        Raises:
            DataError: the shard is missing, cut off or altered, or larger than the bound, or the cache cannot be
                written.
        """
        target = self.folder / f"{shard.sha256}.parquet"
        # Without a lock: a copy gets its name only when it is complete.
        if _is_whole(target, shard):
            return target
        if shard.num_bytes > self.max_bytes:
            raise DataError(
                f"{source}: got a shard of {shard.num_bytes:,} bytes for a cache of {self.max_bytes:,}; "
                f"valid: a higher {BOUND_VARIABLE}, or smaller shards (kmcl data pack --shard-size)"
            )
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._lock_of(shard.sha256).hold():
                # Again, now with the lock: another process may have fetched the shard while this one waited.
                if not _is_whole(target, shard):
                    self._fetch(shard, source, target)
        except OSError as error:
            raise DataError(
                f"{self.folder}: cannot be written: {one_line(error)}; "
                f"valid: {FOLDER_VARIABLE}, a folder with room for {self.max_bytes:,} bytes ({BOUND_VARIABLE})"
            ) from None
        return target

    def _fetch(self, shard: Shard, source: Location, target: Path) -> None:
        temporary = self.folder / f"{shard.sha256}.{os.getpid()}-{secrets.token_hex(4)}.tmp"
        start = time.monotonic()
        _logger.info("fetching shard %s (%s bytes) into %s", source, f"{shard.num_bytes:,}", self.folder)
        try:
            self._make_room(shard, temporary)
            digest, size = hashlib.sha256(), 0
            with temporary.open("r+b") as file:
                for chunk in read_chunks(source, "a shard as `kmcl data pack` wrote it"):
                    size += len(chunk)
                    # No byte beyond the room that was reserved for this shard. The check below then refuses the file.
                    if size > shard.num_bytes:
                        break
                    digest.update(chunk)
                    file.write(chunk)
                check_shard(source, shard, size, digest.hexdigest())
                # Without this, a power loss could leave the new name without the bytes.
                os.fsync(file.fileno())
            temporary.replace(target)
            _logger.info("fetched shard %s in %.1f s", source, time.monotonic() - start)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()

    def _make_room(self, shard: Shard, temporary: Path) -> None:
        """Remove the copies that were used longest ago until the shard fits, then reserve its room on the disk."""
        while True:
            # One lock for measuring and reserving: two processes must not use the same free bytes.
            with FileLock(self.folder / "room.lock").hold():
                self._remove_leftovers(shard.sha256)
                copies, drafts = self._files(_COPY), self._files(_DRAFT)
                taken = sum(_size(path) for path in [*copies, *drafts])
                for path in sorted(copies, key=_last_used):
                    if taken + shard.num_bytes <= self.max_bytes:
                        break
                    taken -= _size(path)
                    path.unlink(missing_ok=True)
                if taken + shard.num_bytes <= self.max_bytes:
                    # A sparse file of the full size: other processes count it, so the bound also holds during the
                    # download.
                    with temporary.open("wb") as file:
                        file.truncate(shard.num_bytes)
                    return
            # The rest is being fetched by other processes. When they are done, their copies can be removed.
            time.sleep(_POLL_SECONDS)

    def _remove_leftovers(self, own: str) -> None:
        """Remove the unfinished files of processes that have ended; the caller holds the lock of shard `own`."""
        for path in self._files(_DRAFT):
            # This process holds the lock of its own shard, so a draft of it can only be of a process that has died.
            sha256 = path.name.partition(".")[0]
            if sha256 == own:
                path.unlink(missing_ok=True)
                continue
            # The lock is held during the removal, so that no process begins to fetch this shard in between.
            with self._lock_of(sha256).hold(seconds=0) as is_held:
                if is_held:
                    path.unlink(missing_ok=True)

    def _files(self, name: re.Pattern[str]) -> list[Path]:
        return [path for path in self.folder.iterdir() if name.fullmatch(path.name)]

    def _lock_of(self, sha256: str) -> FileLock:
        return FileLock(self.folder / f"{sha256}.lock")


def node_cache() -> ShardCache:
    """The cache that this process's environment names.

    Its folder is `KMCL_CACHE`, or a folder in the user's cache directory. Its bound is `KMCL_CACHE_BYTES`, or 32 GiB.

    Raises:
        DataError: the bound is not a size.
    """
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(os.environ.get(FOLDER_VARIABLE) or Path(home) / "kmcl_platform" / "shards").expanduser().absolute()
    bound = os.environ.get(BOUND_VARIABLE)
    try:
        return ShardCache(folder, parse_size(bound) if bound else DEFAULT_BYTES)
    except ValueError as error:
        raise DataError(f"{BOUND_VARIABLE}: {error}") from None


def check_shard(source: Location, shard: Shard, num_bytes: int, sha256: str) -> None:
    """Compare a shard's size and hash with those that the manifest names.

    Raises:
        DataError: they are different.
    """
    if num_bytes != shard.num_bytes:
        raise DataError(
            f"{source}: size: got {num_bytes:,} bytes; valid: {shard.num_bytes:,}, as packed: the file was changed"
        )
    if sha256 != shard.sha256:
        raise DataError(
            f"{source}: sha256: got {sha256[:12]}…; valid: {shard.sha256[:12]}…, as packed: the file was changed"
        )


def _is_whole(target: Path, shard: Shard) -> bool:
    """Whether a copy exists in its full size. If so, it is marked as used now."""
    try:
        if target.stat().st_size != shard.num_bytes:
            return False
        # The time of the last change is the time of the last use. Access times are switched off on many disks.
        os.utime(target)
    except OSError:
        return False
    return True


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _last_used(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
