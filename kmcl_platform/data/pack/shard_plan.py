"""Which images are in which shard, and the shard's name."""

import hashlib
from dataclasses import dataclass

import numpy as np

from kmcl_platform.data.manifest.manifest import SPLITS, Manifest


@dataclass(frozen=True)
class ShardPlan:
    """One shard to be written."""

    name: str
    rows: np.ndarray
    """Rows of the manifest's table, in the shard's order."""


def plan_shards(
    manifest: Manifest, sizes_N: np.ndarray, shard_bytes: int, group_images: int, seed: int
) -> list[ShardPlan]:
    """The shards of every split: which rows, in which order, under which names."""
    splits_N = np.array(manifest.table["split"].to_pylist())
    # The same images packed in the same way have the same names, others have others: shards of two packings never mix.
    key = f"{manifest.content_hash} {shard_bytes} {group_images} {seed}".encode() + sizes_N.astype("<i8").tobytes()
    suffix = hashlib.sha256(key).hexdigest()[:8]
    plans = []
    for number, split in enumerate(SPLITS):
        rows = np.flatnonzero(splits_N == split)
        rng = np.random.Generator(np.random.PCG64([seed, number]))
        # Sorting random keys stands in for a shuffle, whose algorithm may change.
        rows = rows[np.argsort(rng.integers(0, 2**62, len(rows)), kind="stable")]
        shards: list[list[np.ndarray]] = []
        room = 0
        for start in range(0, len(rows), group_images):
            group = rows[start : start + group_images]
            size = int(sizes_N[group].sum())
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
