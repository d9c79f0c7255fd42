"""The encoded images of a manifest of any kind, to be packed."""

from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.data.manifest.table_errors import Fault, check_faults
from kmcl_platform.data.storage.object_store import one_line
from kmcl_platform.data.storage.shard_reader import ShardReader
from kmcl_platform.messages import show_value


class ImageSource:
    """Reads the encoded images of a manifest by the rows of its table, from files, from the table or from shards.

    It can be used from several threads.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._where = f"manifest {manifest.name!r}"
        self._root = manifest.root or Path()
        self._column = "bytes" if "bytes" in manifest.table.column_names else "image"
        self._images = manifest.table[self._column]
        self._shards = None if manifest.packing is None else ShardReader(manifest.packing)

    def sizes(self) -> np.ndarray:
        """The size of each image in bytes, sizes_N, int64. For a packed manifest, the mean size of all its images.

        Raises:
            FaultyTable: files are missing.
        """
        if self._shards is not None:
            # The manifest does not record the size of an image. Reading all shards for it would take too long.
            shards = self._shards.packing.shards.values()
            mean = sum(shard.num_bytes for shard in shards) // max(1, sum(shard.num_images for shard in shards))
            return np.full(len(self._images), mean)
        if self._column == "bytes":
            sizes_N: np.ndarray = pc.binary_length(self._images).to_numpy().astype(np.int64)
            return sizes_N
        faults, sizes_N = [], np.zeros(len(self._images), dtype=np.int64)
        for row, image in enumerate(self._images.to_pylist()):
            try:
                sizes_N[row] = (self._root / image).stat().st_size
            except (OSError, ValueError) as error:
                faults.append(self._fault(row, error))
        check_faults(self._where, faults)
        return sizes_N

    def read(self, row: int) -> bytes | Fault:
        """One encoded image, or the reason why it cannot be read.

        Raises:
            DataError: the manifest is packed, and a shard is missing or damaged.
        """
        stored = self._images[row].as_py()
        try:
            if self._shards is not None:
                return self._shards.read(stored)
            encoded: bytes = stored if isinstance(stored, bytes) else (self._root / stored).read_bytes()
            # An empty file would be packed as an image that nothing can decode.
            return encoded or Fault(
                "unreadable image", f"got {show_value(stored)}: it is empty; valid: an image", row, self._column
            )
        except (OSError, ValueError) as error:
            return self._fault(row, error)

    def check(self, images: list[bytes | Fault]) -> list[bytes]:
        """The images, if all of them could be read.

        Raises:
            FaultyTable: some could not be read. It names each of them.
        """
        check_faults(self._where, [image for image in images if isinstance(image, Fault)])
        return [image for image in images if isinstance(image, bytes)]

    def _fault(self, row: int, error: OSError | ValueError) -> Fault:
        # `strerror` is the reason alone. The text of an OSError would repeat the path.
        reason = error.strerror if isinstance(error, OSError) and error.strerror else one_line(error)
        path = str(self._root / self._images[row].as_py())
        return Fault(
            "unreadable image", f"got {show_value(path)}: cannot be read ({reason}); valid: an image", row, self._column
        )
