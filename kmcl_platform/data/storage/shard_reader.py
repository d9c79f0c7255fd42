"""Reading encoded images from shards, one row group at a time.

A shard on this machine is read in place. A shard elsewhere is read from the node's cache.
"""

import hashlib
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from kmcl_platform.data.storage.object_store import one_line, read_chunks
from kmcl_platform.data.storage.shard_cache import ShardCache, check_shard, node_cache
from kmcl_platform.data.storage.shard_index import Packing, Shard
from kmcl_platform.errors import DataError

BUFFER_GROUPS = 8
"""The number of row groups whose images training mixes, and that a process keeps in memory."""
_MAX_FETCHES = 5
"""How often a shard is fetched if other processes remove it from the cache before it is opened."""


class ShardReader:
    """Reads the images of a packed manifest.

    It can be pickled for loader processes, and used from several threads.
    """

    def __init__(self, packing: Packing, cache: ShardCache | None = None) -> None:
        """
        Args:
            packing: the manifest's shards.
            cache: where shards from elsewhere are stored. None: the cache that the environment names.

        Raises:
            DataError: the environment's bound of the cache is not valid.
        """
        self.packing = packing
        self._cache = cache or (node_cache() if packing.folder.path is None else None)
        self.num_group_reads = 0
        """How many times a row group was read from the disk."""
        self._start()

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._row_groups: OrderedDict[tuple[str, int], pa.ChunkedArray] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        # A lock cannot be pickled, and the row groups in memory would make the pickle large.
        return {key: value for key, value in vars(self).items() if key not in ("_lock", "_row_groups")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._start()

    def read(self, image: str) -> bytes:
        """The encoded bytes of an image, by its name in the manifest.

        Raises:
            DataError: its shard is missing, cut off or altered.
        """
        shard, row = self.packing.place(image)
        group, row = divmod(row, shard.group_images)
        # Threads that want the same row group must not read it twice. The lock also covers the download of its shard.
        with self._lock:
            images = self._row_groups.get((shard.name, group))
            if images is None:
                images = self._read_group(shard, group)
                self._row_groups[shard.name, group] = images
                if len(self._row_groups) > BUFFER_GROUPS:
                    # The row group that was used longest ago.
                    self._row_groups.popitem(last=False)
            self._row_groups.move_to_end((shard.name, group))
        encoded: bytes = images[row].as_py()
        return encoded

    def _read_group(self, shard: Shard, group: int) -> pa.ChunkedArray:
        source = self.packing.folder.join(shard.name)
        self.num_group_reads += 1
        for _ in range(_MAX_FETCHES):
            try:
                images = _read_group(self._fetch(shard), group)
                break
            except FileNotFoundError:
                # Another process removed the shard from the cache after it was fetched and before it was opened.
                continue
            except (pa.ArrowException, OSError) as error:
                raise DataError(
                    f"{source}: row group {group} cannot be read: {one_line(error)}; valid: a shard as it was packed"
                ) from None
        else:
            raise DataError(
                f"{source}: got removed from the cache {_MAX_FETCHES} times before it was read; valid: a larger cache"
            )
        expected = min(shard.group_images, shard.num_images - group * shard.group_images)
        if len(images) != expected or images.null_count:
            raise DataError(f"{source}: row group {group}: got {len(images)} images; valid: {expected}, as packed")
        return images

    def _fetch(self, shard: Shard) -> Path:
        """The path of a shard on this machine. Its size has been checked."""
        source = self.packing.folder.join(shard.name)
        if self._cache is not None and source.path is None:
            return self._cache.fetch(shard, source)
        assert source.path is not None
        try:
            size = source.path.stat().st_size
        except OSError as error:
            raise DataError(f"{source}: cannot be read: {error.strerror}; valid: a shard as it was packed") from None
        # The hash is not computed here: it would read the whole shard. The size is free, and the call raises the error.
        if size != shard.num_bytes:
            check_shard(source, shard, size, "")
        return source.path

    def check(self, shard: Shard) -> None:
        """Compare a whole shard with the size and hash that the manifest names.

        Raises:
            DataError: it is missing, cut off or altered.
        """
        source = self.packing.folder.join(shard.name)
        # The cache compares the hash when it fetches a shard.
        if source.path is None:
            self._fetch(shard)
            return
        digest, size = hashlib.sha256(), 0
        for chunk in read_chunks(source, "a shard as it was packed"):
            digest.update(chunk)
            size += len(chunk)
        check_shard(source, shard, size, digest.hexdigest())


def _read_group(path: Path, group: int) -> pa.ChunkedArray:
    # A shard that is read in place is never read whole, so its hash is not compared. The checksums of its pages are.
    with pq.ParquetFile(path, page_checksum_verification=True, pre_buffer=False) as file:
        return file.read_row_group(group, columns=["bytes"], use_threads=False)["bytes"]
