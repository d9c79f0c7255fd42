"""The encoded images of any manifest, to be packed."""

from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.data.manifest.table_errors import Fault, check_faults
from kmcl_platform.data.storage.object_store import one_line
from kmcl_platform.data.storage.shard_reader import ShardReader


class ImageSource:
    """The encoded images of any manifest, by row of its table."""

    def __init__(self, manifest: Manifest) -> None:
        self._where = f"manifest {manifest.name!r}"
        self._root = manifest.root or Path()
        self.column = "bytes" if "bytes" in manifest.table.column_names else "image"
        self._images = manifest.table[self.column]
        self._shards = None if manifest.packing is None else ShardReader(manifest.packing)

    def sizes(self) -> np.ndarray:
        """Bytes of each image, as far as they can be known without reading it.

        Raises:
            FaultyTable: files are missing.
        """
        if self._shards is not None:
            shards = self._shards.packing.shards.values()
            mean = sum(shard.num_bytes for shard in shards) // max(1, sum(shard.num_images for shard in shards))
            return np.full(len(self._images), mean)
        if self.column == "bytes":
            sizes: np.ndarray = pc.binary_length(self._images).to_numpy().astype(np.int64)
            return sizes
        faults, found = [], np.zeros(len(self._images), dtype=np.int64)
        for row, image in enumerate(self._images.to_pylist()):
            try:
                found[row] = (self._root / image).stat().st_size
            except (OSError, ValueError) as error:
                faults.append(self._fault(row, error))
        check_faults(self._where, faults)
        return found

    def read(self, row: int) -> bytes | Fault:
        """One encoded image, or why there is none."""
        stored = self._images[row].as_py()
        try:
            if self._shards is not None:
                return self._shards.read(stored)
            encoded: bytes = stored if isinstance(stored, bytes) else (self._root / stored).read_bytes()
            return encoded or Fault(
                "unreadable image", f"got {stored!r}: nothing in it; valid: an image", row, self.column
            )
        except (OSError, ValueError) as error:
            return self._fault(row, error)

    def check(self, images: list[bytes | Fault]) -> list[bytes]:
        """
        Raises:
            FaultyTable: some could not be read.
        """
        check_faults(self._where, [image for image in images if isinstance(image, Fault)])
        return [image for image in images if isinstance(image, bytes)]

    def _fault(self, row: int, error: OSError | ValueError) -> Fault:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else one_line(error)
        path = self._root / self._images[row].as_py()
        return Fault(
            "unreadable image", f"got {str(path)!r}: cannot be read ({reason}); valid: an image", row, self.column
        )
