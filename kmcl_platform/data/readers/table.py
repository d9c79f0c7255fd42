"""A CSV or Parquet table of one's own: an image column, and one column per class or one of joined labels."""

import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from kmcl_platform.data.manifest.manifest import SPLITS, Manifest, build_manifest
from kmcl_platform.data.manifest.table_errors import Fault, check_faults
from kmcl_platform.data.progress import Progress, silent
from kmcl_platform.data.splits.stratified_split import carve_split
from kmcl_platform.data.tables.columns import (
    class_columns_to_targets,
    joined_labels_to_targets,
    read_text_table,
    split_labels,
)
from kmcl_platform.errors import DataError


def read_table(
    path: Path,
    *,
    image_column: str = "image",
    split_column: str = "split",
    labels_column: str | None = None,
    separator: str = "|",
    no_label: str | None = None,
    classes: Sequence[str] = (),
    group_column: str | None = None,
    image_folder: Path | None = None,
    val_fraction: float = 0.1,
    test_fraction: float = 0.2,
    seed: int = 0,
    progress: Progress = silent,
) -> Manifest:
    """Read a table; every fault of it is found in one pass.

    A table without the split column is drawn into splits: `test`, then `val` out of the rest. One that has it but no
    row of `val` gets that split carved out of `train`.

    Args:
        path: the table; one that ends in `.parquet` is Parquet, any other CSV.
        image_column: paths of the images.
        split_column: `train`, `val` or `test`.
        labels_column: joined labels; none: each column that is not named here is a class of 1, 0 and -1 (unknown).
        separator: between joined labels.
        no_label: what a cell without labels says, beside nothing at all.
        classes: names of the classes; none: every label that is met, sorted, or every other column.
        group_column: patients or the like, which no draw parts and no two splits may share.
        image_folder: where relative paths start; none: the table's folder.
        val_fraction, test_fraction: shares that are drawn, above 0 and below 1.
        seed: of the draws, 0 or more.

    Raises:
        FaultyTable: cells are not valid: an image that is missing, comes twice or is in two splits, a split, a label.
        DataError: the table cannot be read, or a column is missing.
    """
    named = [column for column in (image_column, labels_column, group_column) if column is not None]
    frame = read_text_table(path, [*named, *(classes if labels_column is None else ())])
    folder = (image_folder or path.parent).resolve()
    has_splits = split_column in frame.columns
    faults: list[Fault] = []
    splits = frame[split_column].str.strip().tolist() if has_splits else ["train"] * len(frame)
    images = frame[image_column].str.strip().tolist()
    faults += _split_faults(splits, split_column)
    faults += _image_faults(images, splits, image_column, folder, progress)
    groups = None if group_column is None else frame[group_column].tolist()
    if groups is not None and group_column is not None:
        faults += _group_faults(groups, splits, group_column)
    if labels_column is not None:
        cells = frame[labels_column].tolist()
        class_names = tuple(classes) or _labels_met(cells, separator, no_label)
        targets_NK = joined_labels_to_targets(
            cells,
            labels_column,
            {name: k for k, name in enumerate(class_names)},
            separator=separator,
            no_label=no_label,
            faults=faults,
        )
    else:
        class_names = tuple(classes) or _other_columns(frame, {*named, split_column})
        targets_NK = class_columns_to_targets(frame, class_names, unknown=True, faults=faults)
    check_faults(str(path), faults)
    if not class_names:
        raise DataError(f"{path}: classes: got none; valid: a column for each class, or a column of joined labels")
    if not has_splits:
        splits = carve_split(splits, targets_NK, name="test", fraction=test_fraction, seed=seed, groups=groups)
    if "val" not in splits:
        splits = carve_split(splits, targets_NK, name="val", fraction=val_fraction, seed=seed, groups=groups)
    return build_manifest(
        name=path.stem,
        version="",
        class_names=class_names,
        splits=splits,
        images=images,
        targets=targets_NK,
        root=folder,
    )


def _split_faults(splits: list[str], column: str) -> list[Fault]:
    return [
        Fault("split that is not valid", f"got {split!r}; valid: {', '.join(SPLITS)}", row, column)
        for row, split in enumerate(splits)
        if split not in SPLITS
    ]


def _image_faults(images: list[str], splits: list[str], column: str, folder: Path, progress: Progress) -> list[Fault]:
    faults: list[Fault] = []
    first: dict[str, int] = {}
    for row, image in enumerate(images):
        if row % 1000 == 0 or row + 1 == len(images):
            progress("images", row + 1, len(images))
        if not image:
            faults.append(Fault("empty cell", "got nothing; valid: the path of an image", row, column))
            continue
        path = os.path.normpath(folder / image)
        earlier = first.setdefault(path, row)
        if earlier == row and not os.path.isfile(path):  # noqa: PTH113
            faults.append(Fault("missing image", f"got {image!r}: no such file ({path}); valid: an image", row, column))
        elif earlier != row and splits[earlier] != splits[row]:
            message = f"got {image!r} in {splits[row]}, which row {earlier} has in {splits[earlier]}; valid: one split"
            faults.append(Fault("image in two splits", message, row, column))
        elif earlier != row:
            faults.append(
                Fault("image twice", f"got {image!r}, as row {earlier}; valid: a row for each image", row, column)
            )
    return faults


def _group_faults(groups: list[str], splits: list[str], column: str) -> list[Fault]:
    faults: list[Fault] = []
    first: dict[str, int] = {}
    for row, group in enumerate(groups):
        if not group.strip():
            faults.append(Fault("empty cell", "got nothing; valid: a group", row, column))
            continue
        earlier = first.setdefault(group, row)
        if splits[earlier] != splits[row]:
            message = f"got {group!r} in {splits[row]}, which row {earlier} has in {splits[earlier]}; valid: one split"
            faults.append(Fault("group in two splits", message, row, column))
    return faults


def _labels_met(cells: list[str], separator: str, no_label: str | None) -> tuple[str, ...]:
    met = {label for cell in cells for label in split_labels(cell, separator)}
    return tuple(sorted(met - {no_label}))


def _other_columns(frame: pd.DataFrame, named: set[str]) -> tuple[str, ...]:
    return tuple(str(column) for column in frame.columns if column not in named)
