"""A manifest that exists already, read again to treat its identical pictures; its splits stay as they are."""

from pathlib import Path

from kmcl_platform.data.manifest.manifest import Manifest, targets_to_numpy
from kmcl_platform.data.manifest.parquet import read_manifest
from kmcl_platform.data.manifest.table_errors import Fault
from kmcl_platform.data.progress import Progress, silent
from kmcl_platform.data.splits.draw import draw_manifest
from kmcl_platform.errors import DataError
from kmcl_platform.messages import show_path


def read_manifest_again(
    path: Path,
    *,
    duplicates: str = "group",
    near_duplicates: bool = False,
    notes: list[Fault] | None = None,
    progress: Progress = silent,
) -> Manifest:
    """Read a manifest, and leave out copies of pictures.

    Args:
        path: a manifest of paths or of encoded images.
        duplicates: what is done with identical pictures, see `draw_manifest`.
        near_duplicates: whether near copies are identical pictures too; all images are then decoded.
        notes: takes remarks about them for the user.

    Raises:
        DataError: the manifest is missing, not valid, or packed.
    """
    manifest = read_manifest(path)
    # A picture that is left out would stay in its shard.
    if manifest.packing is not None:
        raise DataError(
            f"{show_path(path)}: got a packed manifest; valid: the manifest that it was packed from, to be packed again"
        )
    column = "bytes" if "bytes" in manifest.table.column_names else "image"
    return draw_manifest(
        name=manifest.name,
        version=manifest.version,
        class_names=manifest.class_names,
        splits=manifest.table["split"].to_pylist(),
        images=manifest.table[column].to_pylist(),
        targets_NK=targets_to_numpy(manifest.table["targets"], len(manifest.class_names)),
        root=manifest.root,
        duplicates=duplicates,
        near_duplicates=near_duplicates,
        notes=notes,
        progress=progress,
    )
