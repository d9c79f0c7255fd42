"""What a manifest says of the shards that hold its images: enough to find each image and to know a shard that changed.

An image of a packed manifest is named SHARD#ROW, such as `train-00003-of-00007-1f0c9a2e.parquet#17`.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kmcl_platform.data.storage.object_store import Location
from kmcl_platform.errors import DataError


@dataclass(frozen=True)
class Shard:
    """One Parquet file of encoded images, in column `bytes`."""

    name: str
    num_images: int
    group_images: int
    """Images in a row group; the last one may have fewer."""
    num_bytes: int
    """Size of the file."""
    sha256: str
    """Of the file, hexadecimal."""


@dataclass(frozen=True)
class Packing:
    """The shards of a manifest."""

    folder: Location
    shards: Mapping[str, Shard]
    """By name."""

    def place(self, image: str) -> tuple[Shard, int]:
        """The shard and row of an image."""
        name, _, row = image.rpartition("#")
        return self.shards[name], int(row)


def to_facts(packing: Packing) -> list[dict[str, Any]]:
    """The shards as JSON; not where they lie, which is where the manifest lies."""
    return [asdict(shard) for shard in packing.shards.values()]


def read_packing(where: str, facts: object, folder: Location, images: pa.ChunkedArray) -> Packing:
    """The shards out of a manifest's metadata.

    Args:
        where: the manifest, for messages.
        facts: as `to_facts` gives.
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
            # A shard lies beside its manifest, and a cached one under its hash.
            or "/" in entry["name"]
            or not set(entry["sha256"]) <= set("0123456789abcdef")
            or len(entry["sha256"]) != 64
        ):
            raise DataError(f"{where}: metadata: 'shards': got {str(entry)[:80]}; valid: {valid}")
        shards[entry["name"]] = Shard(**entry)
    packing = Packing(folder, shards)
    rows_N, shards_N = locate(packing, images)
    names = list(packing.shards)
    sizes = np.array([packing.shards[name].num_images for name in names] + [0])
    outside = np.flatnonzero(rows_N >= sizes[shards_N])
    if outside.size:
        row = int(outside[0])
        raise DataError(
            f"{where}: row {row}, column 'image': got {images[row].as_py()!r}; "
            "valid: SHARD#ROW of a shard that the metadata names"
        )
    return packing


def locate(packing: Packing, images: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and numbers of shards, rows_N and shards_N, both int64; of an image that names none, -1 as its shard."""
    parts = pc.extract_regex(images, r"^(?P<shard>.*)#(?P<row>\d{1,15})$").combine_chunks()
    names = pa.array(list(packing.shards), pa.string())
    shards_N = pc.fill_null(pc.index_in(parts.field("shard"), value_set=names), -1).to_numpy(zero_copy_only=False)
    texts = pc.if_else(pa.array(shards_N >= 0), parts.field("row"), "0")
    return texts.cast(pa.int64()).to_numpy(zero_copy_only=False), shards_N.astype(np.int64)
