"""Where a manifest's images lie, seen from the folder that its file is written into."""

import os
from pathlib import Path

from kmcl_platform.data.manifest.manifest import Manifest, build_manifest, targets_to_numpy


def place_manifest(manifest: Manifest, folder: Path) -> Manifest:
    """The same manifest, to be written into `folder`: paths relative to it where images lie below it, else absolute.

    Args:
        manifest: of image paths.
        folder: where its file will lie; symbolic links are followed.
    """
    folder = folder.resolve()
    root = (manifest.root or Path()).resolve()
    # normpath, not resolve: an image that is itself a link keeps its place, and no disk is asked 100,000 times.
    paths = [Path(os.path.normpath(root / image)) for image in manifest.table["image"].to_pylist()]
    return build_manifest(
        name=manifest.name,
        version=manifest.version,
        class_names=manifest.class_names,
        splits=manifest.table["split"].to_pylist(),
        images=[path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path) for path in paths],
        targets=targets_to_numpy(manifest.table["targets"], len(manifest.class_names)),
        root=folder,
    )
