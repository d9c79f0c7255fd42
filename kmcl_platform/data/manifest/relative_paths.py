"""The image paths of a manifest, as its file has them: relative to the file's folder where that is possible."""

import os
from pathlib import Path

from kmcl_platform.data.manifest.manifest import Manifest, build_manifest, targets_to_numpy
from kmcl_platform.errors import DataError
from kmcl_platform.messages import shell_command, show_path


def place_manifest(manifest: Manifest, folder: Path) -> Manifest:
    """The same manifest, to be written into `folder`: paths relative to it if images are below it, otherwise absolute.

    Args:
        manifest: a manifest that is not packed. A manifest of encoded images is returned without a change.
        folder: where its file will be; symbolic links are followed.

    Raises:
        DataError: a path is not text, because names on the disk are not UTF-8.
    """
    if "bytes" in manifest.table.column_names:
        return manifest
    folder = folder.resolve()
    root = (manifest.root or Path()).resolve()
    # normpath, not resolve: an image that is itself a link keeps its place, and the disk is not needed.
    paths = [Path(os.path.normpath(root / image)) for image in manifest.table["image"].to_pylist()]
    images = [path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path) for path in paths]
    # Only the folder's name can be the cause: the paths of the table are text already.
    wrong = next((image for image in images if not _is_text(image)), None)
    if wrong is not None:
        rename = shell_command(["convmv", "-f", "latin1", "-t", "utf8", "--notest", "-r", root])
        raise DataError(
            f"{show_path(wrong)}: got a name on the disk that is not UTF-8; valid: a manifest that is written into "
            f"{show_path(root)}, or names in UTF-8, for example after: {rename}"
        )
    return build_manifest(
        name=manifest.name,
        version=manifest.version,
        class_names=manifest.class_names,
        splits=manifest.table["split"].to_pylist(),
        images=images,
        targets=targets_to_numpy(manifest.table["targets"], len(manifest.class_names)),
        root=folder,
    )


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True
