"""What a manifest says about the shards that contain its images.

This is enough to find each image, and to recognise a shard that was changed.

An image of a packed manifest has the name SHARD#ROW, such as `train-00003-of-00007-1f0c9a2e.parquet#17`.

Legend of shapes: N images.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kmcl_platform.data.storage.location import Location
from kmcl_platform.errors import DataError
from kmcl_platform.messages import show_value


@dataclass(frozen=True)
class Shard:
    """A Parquet file of encoded images, which are in its column `bytes`."""

    name: str
    """The file's name, without a folder."""
    num_images: int
    group_images: int
    """Number of images in a row group. The last row group may have fewer."""
    num_bytes: int
    """Size of the file."""
    sha256: str
    """Hash of the file, hexadecimal."""


@dataclass(frozen=True)
class Packing:
    """The shards of a manifest."""

    folder: Location
    """The folder of the shards and the manifest."""
    shards: Mapping[str, Shard]
    """The shards by their names."""

    def place(self, image: str) -> tuple[Shard, int]:
        """The shard of an image, and the image's row in it.

        Raises:
            KeyError: the image's name does not name a shard of this packing.
        """
        name, _, row = image.rpartition("#")
        return self.shards[name], int(row)


def to_facts(packing: Packing) -> list[dict[str, Any]]:
    """The shards as JSON. Their folder is left out: it is the manifest's, so both can be moved together."""
    return [asdict(shard) for shard in packing.shards.values()]


def read_packing(where: str, facts: object, folder: Location, images: pa.ChunkedArray) -> Packing:
    """Read the shards from a manifest's metadata.

    Args:
        where: the manifest, for messages.
        facts: what `to_facts` returned when the manifest was written.
        folder: the manifest's folder.
        images: names of N images.

    Raises:
        DataError: the facts are not valid, or an image names a shard or a row that does not exist.
    """
    valid = "a list of shards with name, num_images, group_images, num_bytes, sha256"
    kinds = {"name": str, "num_images": int, "group_images": int, "num_bytes": int, "sha256": str}
    shards: dict[str, Shard] = {}
    for entry in facts if isinstance(facts, list) else [None]:
        if (
            not isinstance(entry, dict)
            or {key: type(value) for key, value in entry.items()} != kinds
            or min(entry["num_images"], entry["group_images"], entry["num_bytes"]) < 1
            # These are parts of paths: a shard is in its manifest's folder, and a cached shard has its hash as a name.
            or "/" in entry["name"]
            or not set(entry["sha256"]) <= set("0123456789abcdef")
            or len(entry["sha256"]) != 64
        ):
            raise DataError(f"{where}: metadata: 'shards': got {show_value(entry)}; valid: {valid}")
        shards[entry["name"]] = Shard(**entry)
    packing = Packing(folder, shards)
    rows_N, shards_N = locate(packing, images)
    names = list(packing.shards)
    # The number -1 means an unknown shard. It selects the last size, 0, so every row of such a shard is outside.
    sizes = np.array([packing.shards[name].num_images for name in names] + [0])
    outside = np.flatnonzero(rows_N >= sizes[shards_N])
    if outside.size:
        row = int(outside[0])
        raise DataError(
            f"{where}: row {row}, column 'image': got {show_value(images[row].as_py())}; "
            "valid: SHARD#ROW of a shard that the metadata names"
        )
    return packing


def locate(packing: Packing, images: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """The row of each image in its shard, and the shard's number: rows_N and shards_N, both int64, from 0.

    An image that does not name a shard of the packing has row 0 and shard -1.
    """
    # 15 digits always fit into int64.
    parts = pc.extract_regex(images, r"^(?P<shard>.*)#(?P<row>\d{1,15})$").combine_chunks()
    names = pa.array(list(packing.shards), pa.string())
    shards_N = pc.fill_null(pc.index_in(parts.field("shard"), value_set=names), -1).to_numpy(zero_copy_only=False)
    # An image without a shard gets row 0: a missing value would make the array one of floating-point numbers.
    texts = pc.if_else(pa.array(shards_N >= 0), parts.field("row"), "0")
    return texts.cast(pa.int64()).to_numpy(zero_copy_only=False), shards_N.astype(np.int64)
