"""The plan of a packing: the images of each shard, their order, and the shard's name.

Legend of shapes: N images of the manifest.
"""

import hashlib
from dataclasses import dataclass

import numpy as np

from kmcl_platform.data.manifest.manifest import SPLITS, Manifest


@dataclass(frozen=True)
class ShardPlan:
    """One shard to be written."""

    name: str
    """The name of its file."""
    rows: np.ndarray
    """Rows of the manifest's table, in the shard's order; int64."""


def plan_shards(
    manifest: Manifest, sizes_N: np.ndarray, shard_bytes: int, group_images: int, seed: int
) -> list[ShardPlan]:
    """Shuffle the images of each split, and divide them into row groups and shards.

    Args:
        manifest: N images.
        sizes_N: the size of each image in bytes.
        shard_bytes: a row group that would make a shard larger than this begins the next shard.
        group_images: images in a row group.
        seed: of the shuffle, 0 or more.

    Returns:
        The shards of `train`, then those of `val` and `test`.
    """
    splits_N = np.array(manifest.table["split"].to_pylist())
    # The names are the same if and only if the same images are packed in the same way. Shards of two packings therefore
    # never replace each other, and can be in one folder while the manifest is replaced.
    key = f"{manifest.content_hash} {shard_bytes} {group_images} {seed}".encode() + sizes_N.astype("<i8").tobytes()
    suffix = hashlib.sha256(key).hexdigest()[:8]
    plans = []
    for number, split in enumerate(SPLITS):
        rows = np.flatnonzero(splits_N == split)
        rng = np.random.Generator(np.random.PCG64([seed, number]))
        # The order of random keys is a shuffle. NumPy may change the algorithm of `shuffle` between versions.
        rows = rows[np.argsort(rng.integers(0, 2**62, len(rows)), kind="stable")]
        shards: list[list[np.ndarray]] = []
        room = 0
        for start in range(0, len(rows), group_images):
            group = rows[start : start + group_images]
            size = int(sizes_N[group].sum())
            # A row group is never divided: it is what a reader reads as one piece.
            if not shards or size > room:
                shards.append([])
                room = shard_bytes
            shards[-1].append(group)
            room -= size
        plans += [
            ShardPlan(f"{split}-{i:05d}-of-{len(shards):05d}-{suffix}.parquet", np.concatenate(groups))
            for i, groups in enumerate(shards)
        ]
    return plans
