"""PASCAL VOC 2007 and 2012, as unpacked from the official archives.

Labels are those of `ImageSets/Main/CLASS_SPLIT.txt`, the development kit's image sets: 1 the class is in the image, -1
it is not, 0 all objects of the class are *difficult*. Such a label becomes unknown: it is in no loss and in no metric.
"""

from pathlib import Path

import numpy as np

from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.data.manifest.table_errors import Fault
from kmcl_platform.data.progress import Progress, silent
from kmcl_platform.data.readers.files import (
    check_distinct,
    check_present,
    find_folder,
    list_names,
    read_lines as read_text_lines,
)
from kmcl_platform.data.splits.draw import Draw, draw_manifest
from kmcl_platform.errors import DataError
from kmcl_platform.messages import show_path, show_value

VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
VOC_SPLITS = {"2007": {"trainval": "train", "test": "test"}, "2012": {"train": "train", "val": "test"}}
"""Year to official split to ours. The labels of 2012's test are not published, so its val is our test."""

_LABELS = {"1": 1, "-1": 0, "0": -1}


def read_voc(
    root: Path,
    *,
    year: str = "2007",
    val_fraction: float = 0.1,
    seed: int = 0,
    duplicates: str = "group",
    near_duplicates: bool = False,
    notes: list[Fault] | None = None,
    progress: Progress = silent,
) -> Manifest:
    """Read one year's image-level labels; `val` is drawn out of `train`.

    Args:
        root: the folder that contains VOCdevkit, VOCdevkit itself, or its folder of the year.
        year: `2007` or `2012`.
        val_fraction: share of the training images that become `val`, above 0 and below 1.
        seed: of that draw, 0 or more.
        duplicates: what is done with identical pictures, see `draw_manifest`.
        near_duplicates: whether near copies are identical pictures too; all images are then decoded.
        notes: takes remarks about them for the user.

    Raises:
        DataError: the year is unknown, a file or image is missing, or a line is not in the format.
    """
    if year not in VOC_SPLITS:
        raise DataError(f"year: got {show_value(year)}; valid: {', '.join(VOC_SPLITS)}")
    # The user may give any of the three folders. Only the innermost one can be of another year, which is checked next.
    folder = find_folder(root, [f"VOCdevkit/VOC{year}", f"VOC{year}", "."], "ImageSets/Main")
    if folder.name.startswith("VOC") and folder.name != f"VOC{year}":
        raise DataError(f"{show_path(root)}: got {folder.name}; valid: VOC{year}, as --year says")
    ids: list[str] = []
    splits: list[str] = []
    parts: list[np.ndarray] = []
    for number, (official, ours) in enumerate(VOC_SPLITS[year].items()):
        done = number * len(VOC_CLASSES)
        part_ids, targets_NK = _read_split(folder / "ImageSets" / "Main", official, done, progress)
        ids += part_ids
        splits += [ours] * len(part_ids)
        parts.append(targets_NK)
    check_distinct(show_path(folder / "ImageSets" / "Main"), ids, "images of the splits")
    # The lists name images without a suffix; all files of VOC are JPEG.
    names = [f"{image_id}.jpg" for image_id in ids]
    check_present(folder / "JPEGImages", names, list_names(folder / "JPEGImages"), "ImageSets/Main")
    targets_NK = np.concatenate(parts)
    return draw_manifest(
        name=f"voc{year}",
        version=year,
        class_names=VOC_CLASSES,
        splits=splits,
        images=[f"JPEGImages/{name}" for name in names],
        targets_NK=targets_NK,
        root=folder,
        draws=[Draw("val", val_fraction, seed)],
        duplicates=duplicates,
        near_duplicates=near_duplicates,
        notes=notes,
        progress=progress,
    )


def _read_split(lists: Path, official: str, done: int, progress: Progress) -> tuple[list[str], np.ndarray]:
    """N ids and targets_NK of one official split."""
    ids: list[str] = []
    columns: list[list[int]] = []
    for k, name in enumerate(VOC_CLASSES):
        path = lists / f"{name}_{official}.txt"
        class_ids, labels = _read_class(path)
        if not columns:
            ids = class_ids
        # The labels of the classes are put next to each other, so each file must list the same images in the same
        # order.
        elif class_ids != ids:
            differing = [*map(show_value, sorted(set(ids) ^ set(class_ids))), "their order"]
            raise DataError(
                f"{show_path(path)}: images are not those of {VOC_CLASSES[0]}_{official}.txt "
                f"(first difference: {differing[0]}); valid: the same images in the same order"
            )
        columns.append(labels)
        progress("lists of classes", done + k + 1, 2 * len(VOC_CLASSES))
    return ids, np.array(columns, dtype=np.int8).T


def _read_class(path: Path) -> tuple[list[str], list[int]]:
    ids: list[str] = []
    labels: list[int] = []
    for number, line in enumerate(read_text_lines(path), start=1):
        # The lists have two spaces before 0 and 1, and one before -1. A name may contain spaces.
        fields = line.rsplit(None, 1)
        if len(fields) != 2 or fields[1] not in _LABELS:
            raise DataError(f"{show_path(path)}: line {number}: got {show_value(line)}; valid: an image and -1, 0 or 1")
        ids.append(fields[0].strip())
        labels.append(_LABELS[fields[1]])
    if not ids:
        raise DataError(f"{show_path(path)}: got no lines; valid: one for each image")
    return ids, labels
