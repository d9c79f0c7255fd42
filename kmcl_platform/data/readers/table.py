"""A user's own table, CSV or Parquet: a column of images, and one column for each class or one of joined labels."""

from collections.abc import Sequence
from pathlib import Path

from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.data.manifest.table_errors import Fault, check_faults
from kmcl_platform.data.progress import Progress, silent
from kmcl_platform.data.readers.table_rows import read_groups, read_images, read_splits
from kmcl_platform.data.splits.draw import Draw, draw_manifest
from kmcl_platform.data.tables.columns import class_columns_to_targets, joined_labels_to_targets
from kmcl_platform.data.tables.text_table import read_text_table
from kmcl_platform.errors import DataError
from kmcl_platform.messages import show_path, show_value

SPLIT_COLUMN = "split"
"""The usual name. A table without this column gets splits that are drawn."""


def read_table(
    path: Path,
    *,
    image_column: str = "image",
    split_column: str = SPLIT_COLUMN,
    labels_column: str | None = None,
    separator: str | None = None,
    no_label: str | None = None,
    classes: Sequence[str] = (),
    group_column: str | None = None,
    image_folder: Path | None = None,
    delimiter: str | None = None,
    encoding: str | None = None,
    val_fraction: float = 0.1,
    test_fraction: float = 0.2,
    seed: int = 0,
    duplicates: str = "group",
    near_duplicates: bool = False,
    notes: list[Fault] | None = None,
    progress: Progress = silent,
) -> Manifest:
    """Read a table, and find all of its faults in one pass.

    A table without the split column is drawn into splits: first `test`, then `val` out of the rest. If a table has the
    split column but no row of `val`, that split is drawn out of `train`.

    Args:
        path: the table.
        image_column: paths of the images.
        split_column: `train`, `val` or `test`, in upper or lower case.
        labels_column: joined labels, or lists of labels; None: each column that is not named here is a class of 1, 0
            and -1 (unknown).
        separator: between joined labels; None: `|`, and a column that seems to have another one is refused.
        no_label: the word of a cell without labels. An empty cell has no labels either.
        classes: names of the classes; empty: every label that occurs, sorted, or every other column.
        group_column: patients, for example. All images of a patient are drawn into one split, and a patient in two
            splits is a fault.
        image_folder: where relative paths start; None: the table's folder.
        delimiter: between the columns of a CSV file; None: detected from its first line.
        encoding: of a CSV file; None: UTF-8, UTF-16 or UTF-32, detected.
        val_fraction, test_fraction: shares that are drawn, above 0 and below 1.
        seed: of the draws, 0 or more.
        duplicates: what is done with identical pictures, see `draw_manifest`.
        near_duplicates: whether near copies are identical pictures too; all images are then decoded.
        notes: takes remarks about them for the user.

    Raises:
        FaultyTable: cells are not valid: an image that is missing, repeated or in two splits, a split, a label.
        DataError: the table cannot be read, or a column is missing.
    """
    # The option that gives each column its name, for the error about a missing one.
    options = dict.fromkeys(classes, "--classes") | {image_column: "--image-column"}
    options |= {labels_column: "--labels-column"} if labels_column is not None else {}
    options |= {group_column: "--group-column"} if group_column is not None else {}
    named = [column for column in (image_column, labels_column, group_column) if column is not None]
    if separator == "":
        raise DataError("--separator: got ''; valid: what is between two labels, such as ';'")
    if labels_column is not None and labels_column == image_column:
        raise DataError(
            f"--labels-column: got {show_value(labels_column)}, the column of the images; valid: that of the labels"
        )
    frame = read_text_table(
        path,
        [*named, *(classes if labels_column is None else ())],
        delimiter=delimiter,
        encoding=encoding,
        list_columns=[] if labels_column is None else [labels_column],
        options=options,
    )
    folder = (image_folder or path.parent).resolve()
    has_splits = split_column in frame.columns
    # New splits would be drawn, and published test images could be among the training images.
    similar = [name for name in frame.columns if str(name).casefold() == split_column.casefold()]
    if not has_splits and (similar or split_column != SPLIT_COLUMN):
        seen = ", ".join(show_value(name, 60) for name in similar or frame.columns[:30])
        raise DataError(
            f"{show_path(path)}: --split-column: got {show_value(split_column)}; valid: {seen}; or a table without a "
            "column of splits, and no such option, to draw them"
        )
    faults: list[Fault] = []
    splits = read_splits(frame[split_column], split_column, faults) if has_splits else ["train"] * len(frame)
    # The faults of splits, images, groups and labels are collected, and raised together at the end.
    images = read_images(frame[image_column], splits, image_column, folder, progress, faults)
    groups = None
    if group_column is not None:
        groups = read_groups(frame[group_column], splits, group_column, faults)
    if labels_column is not None:
        class_names, targets_NK = joined_labels_to_targets(
            frame[labels_column].tolist(),
            labels_column,
            tuple(classes) or None,
            separator=separator,
            no_label=no_label,
            faults=faults,
        )
    else:
        # `errors="ignore"`, because the column of splits may be missing.
        others = frame.columns.drop([*named, split_column], errors="ignore")
        class_names = tuple(classes) or tuple(map(str, others))
        targets_NK = class_columns_to_targets(frame, class_names, unknown=True, faults=faults)
    check_faults(show_path(path), faults)
    if not class_names:
        raise DataError(
            f"{show_path(path)}: classes: got none; valid: a column for each class, or a column of joined labels"
        )
    # First `test`: it is drawn from all images, so the choice of `val_fraction` does not change it.
    draws = [] if has_splits else [Draw("test", test_fraction, seed)]
    if "val" not in splits:
        draws.append(Draw("val", val_fraction, seed))
    return draw_manifest(
        name=show_path(path.stem),
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
