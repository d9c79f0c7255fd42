"""Images to pack, and the content of a packing."""

from pathlib import Path

import numpy as np

from kmcl_platform.data.loading.transforms import EvalTransform
from kmcl_platform.data.manifest.manifest import Manifest, build_manifest

TRANSFORM = EvalTransform(image_size=40)
SHARD_BYTES = 40_000


def as_files(digits: Manifest, folder: Path) -> Manifest:
    """The same images as PNG files in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for row, encoded in enumerate(digits.table["bytes"].to_pylist()):
        (folder / f"{row}.png").write_bytes(encoded)
    return build_manifest(
        name="files",
        version="1",
        class_names=digits.class_names,
        splits=digits.table["split"].to_pylist(),
        images=[f"{row}.png" for row in range(digits.table.num_rows)],
        targets=np.concatenate([digits.targets(split) for split in ("train", "val", "test")]),
        root=folder,
    )


def content(manifest: Manifest) -> dict[str, list[tuple[bytes, list[int]]]]:
    """The images of each split with their targets, sorted."""
    return {
        split: sorted(
            (manifest.encoded_image(split, row), targets_K.tolist())
            for row, targets_K in enumerate(manifest.targets(split))
        )
        for split in ("train", "val", "test")
    }


def shard_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name != "manifest.parquet")
