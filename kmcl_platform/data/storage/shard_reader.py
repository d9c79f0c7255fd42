"""Encoded images out of shards, a row group at a time: in place where they lie on this machine, else from the cache."""

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
"""Row groups that training mixes at a time, and that a process keeps in memory."""
_READS_OF_REMOVED = 5


class ShardReader:
    """Images of a packed manifest; can be pickled for worker processes, and used from several threads."""

    def __init__(self, packing: Packing, cache: ShardCache | None = None) -> None:
        """
        Args:
            cache: for shards that lie elsewhere; none: the one that the environment names.

        Raises:
            DataError: the environment's bound of the cache is not valid.
        """
        self.packing = packing
        self._cache = cache or (node_cache() if packing.folder.path is None else None)
        self.num_group_reads = 0
        """Row groups that were read from the disk."""
        self._start()

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, int], pa.ChunkedArray] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        # What is kept is not worth carrying, and a lock cannot be.
        return {key: value for key, value in vars(self).items() if key not in ("_lock", "_kept")}

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
        with self._lock:
            images = self._kept.get((shard.name, group))
            if images is None:
                images = self._read_group(shard, group)
                self._kept[shard.name, group] = images
                if len(self._kept) > BUFFER_GROUPS:
                    self._kept.popitem(last=False)
            self._kept.move_to_end((shard.name, group))
        encoded: bytes = images[row].as_py()
        return encoded

    def _read_group(self, shard: Shard, group: int) -> pa.ChunkedArray:
        source = self.packing.folder.join(shard.name)
        self.num_group_reads += 1
        for _ in range(_READS_OF_REMOVED):
            try:
                images = _read_group(self._fetch(shard), group)
                break
            except FileNotFoundError:
                # Another process made room between the two.
                continue
            except (pa.ArrowException, OSError) as error:
                raise DataError(
                    f"{source}: row group {group} cannot be read: {one_line(error)}; valid: a shard as it was packed"
                ) from None
        else:
            raise DataError(f"{source}: removed from the cache as soon as it was fetched; valid: a larger cache")
        expected = min(shard.group_images, shard.num_images - group * shard.group_images)
        if len(images) != expected or images.null_count:
            raise DataError(f"{source}: row group {group}: got {len(images)} images; valid: {expected}, as packed")
        return images

    def _fetch(self, shard: Shard) -> Path:
        """Where the shard lies on this machine, with the size that it should have."""
        source = self.packing.folder.join(shard.name)
        if self._cache is not None and source.path is None:
            return self._cache.fetch(shard, source)
        assert source.path is not None
        try:
            size = source.path.stat().st_size
        except OSError as error:
            raise DataError(f"{source}: cannot be read: {error.strerror}; valid: a shard as it was packed") from None
        if size != shard.num_bytes:
            check_shard(source, shard, size, "")
        return source.path

    def check(self, shard: Shard) -> None:
        """Read the whole of a shard.

        Raises:
            DataError: it is missing, cut off or altered.
        """
        source = self.packing.folder.join(shard.name)
        # What is in the cache was checked when it came.
        if source.path is None:
            self._fetch(shard)
            return
        digest, size = hashlib.sha256(), 0
        for chunk in read_chunks(source, "a shard as it was packed"):
            digest.update(chunk)
            size += len(chunk)
        check_shard(source, shard, size, digest.hexdigest())


def _read_group(path: Path, group: int) -> pa.ChunkedArray:
    # The checksum of each page is held against it: a shard that is read in place is never read whole.
    with pq.ParquetFile(path, page_checksum_verification=True, pre_buffer=False) as file:
        return file.read_row_group(group, columns=["bytes"], use_threads=False)["bytes"]
