"""The rows of a user's reader, as a manifest."""

from collections.abc import Sequence
from pathlib import Path

from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.data.manifest.table_errors import Fault, check_faults
from kmcl_platform.data.progress import Progress, silent
from kmcl_platform.data.readers.table_rows import read_groups, read_images, read_splits
from kmcl_platform.data.splits.draw import Draw, draw_manifest
from kmcl_platform.data.tables.columns import joined_labels_to_targets
from kmcl_platform.errors import DataError
from kmcl_platform.messages import show_path
from kmcl_platform.plugins.reader import Row


def read_rows(
    rows: Sequence[Row],
    *,
    name: str,
    root: Path,
    val_fraction: float,
    test_fraction: float,
    seed: int,
    duplicates: str = "group",
    near_duplicates: bool = False,
    notes: list[Fault] | None = None,
    progress: Progress = silent,
) -> Manifest:
    """Check the rows, draw splits if they have none, and build the manifest. The faults of all rows are found.

    Args:
        rows: one for each image.
        name: of the dataset.
        root: where relative paths start: this folder, or that of this file.
        val_fraction, test_fraction: shares that are drawn, above 0 and below 1.
        seed: of the draws, 0 or more.
        duplicates: what is done with identical pictures, see `draw_manifest`.
        near_duplicates: whether near copies are identical pictures too; all images are then decoded.
        notes: takes remarks about them for the user.

    Raises:
        FaultyTable: rows are not valid: an image that is missing, repeated or in two splits, a split, a label.
        DataError: there are no rows, or no row has a label.
    """
    if not rows:
        raise DataError(f"{show_path(root)}: got no rows; valid: one for each image")
    folder = (root if root.is_dir() else root.parent).resolve()
    has_splits = any(row.split for row in rows)
    faults: list[Fault] = []
    splits = read_splits([row.split for row in rows], "split", faults) if has_splits else ["train"] * len(rows)
    images = read_images([str(row.image) for row in rows], splits, "image", folder, progress, faults)
    groups = None
    if any(row.group for row in rows):
        groups = read_groups([row.group for row in rows], splits, "group", faults)
    class_names, targets_NK = joined_labels_to_targets(
        [list(row.labels) for row in rows], "labels", None, no_label=None, faults=faults
    )
    check_faults(show_path(root), faults)
    if not class_names:
        raise DataError(f"{show_path(root)}: got no labels; valid: at least one row with a label")
    draws = [] if has_splits else [Draw("test", test_fraction, seed)]
    if "val" not in splits:
        draws.append(Draw("val", val_fraction, seed))
    return draw_manifest(
        name=name,
        version="",
        class_names=class_names,
        splits=splits,
        images=images,
        targets_NK=targets_NK,
        root=folder,
        draws=draws,
        groups=groups,
        duplicates=duplicates,
        near_duplicates=near_duplicates,
        notes=notes,
        progress=progress,
    )
