"""Find out which reader a user's data needs, and with which options."""

import csv
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from kmcl_platform.data.discover.table_columns import describe_table
from kmcl_platform.data.manifest.parquet import read_manifest
from kmcl_platform.errors import DataError
from kmcl_platform.files.file_status import is_file, is_folder, is_there
from kmcl_platform.messages import count_of, show_path, show_value

PICTURES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
TABLES = (".csv", ".tsv", ".parquet")

MANIFEST = "a manifest"
"""The kind of data that needs no reader."""

CLASS_FOLDERS = "class folders"
"""The kind of a folder with one folder of pictures for each class."""


@dataclass(frozen=True)
class FoundDataset:
    """How data can be read.

    Attributes:
        kind: the name of a reader (`kmcl data import KIND`), `MANIFEST` or `CLASS_FOLDERS`.
        root: what the reader reads.
        words: the options of its command, as words.
        reasons: what was found, a sentence each.
        labels: for `CLASS_FOLDERS`, each picture's path and class.
    """

    kind: str
    root: Path
    words: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = field(default=(), repr=False)


def find_dataset(path: Path) -> FoundDataset:
    """Find out what a path is.

    Args:
        path: a table, a manifest, or a folder: of a published dataset, with one table in it, or with a folder of
            pictures for each class.

    Raises:
        DataError: there is nothing there, it has no pictures or no labels, or it may be read in several ways.
    """
    if not is_there(path):
        raise DataError(f"{show_path(path)}: no such file or folder; valid: a table of labels, or a folder of pictures")
    if is_folder(path):
        return _of_folder(path)
    # A pipe can be read only once, and reading may wait for ever.
    if not is_file(path):
        raise DataError(f"{show_path(path)}: got a pipe or a device; valid: a table of labels, or a folder of pictures")
    if path.suffix == ".json":
        raise DataError(
            f"{show_path(path)}: got a JSON file; valid: for MS-COCO the folder with annotations/ and the pictures; "
            "else a table of labels"
        )
    if path.suffix == ".parquet" and _is_manifest(path):
        return FoundDataset(MANIFEST, path, reasons=(f"{show_path(path)} is a manifest.",))
    return _of_table(path)


def _of_table(path: Path) -> FoundDataset:
    words, reasons = describe_table(path)
    return FoundDataset("table", path, words, reasons)


def _of_folder(folder: Path) -> FoundDataset:
    for found in (_find_voc(folder), _find_coco(folder), _find_chestxray14(folder), _find_adp(folder)):
        if found is not None:
            return found
    tables = sorted(path for path in folder.iterdir() if path.suffix in TABLES and path.is_file())
    if len(tables) == 1:
        return _of_file_in(folder, tables[0])
    if tables:
        names = ", ".join(path.name for path in tables[:5])
        raise DataError(f"{show_path(folder)}: got {len(tables)} tables ({show_value(names)}); valid: name one of them")
    return _find_class_folders(folder)


def _of_file_in(folder: Path, table: Path) -> FoundDataset:
    found = find_dataset(table)
    only = f"{table.name} is the only table in {show_path(folder)}."
    return replace(found, reasons=(only, *found.reasons))


def _find_voc(folder: Path) -> FoundDataset | None:
    for root in (folder, folder.parent, folder / "VOCdevkit"):
        years = [year for year in ("2007", "2012") if (root / f"VOC{year}" / "ImageSets" / "Main").is_dir()]
        # The folder of one year itself.
        years = [year for year in years if root != folder.parent or folder.name == f"VOC{year}"]
        if len(years) == 1:
            words = ("--year", years[0])
            return FoundDataset("voc", root, words, (f"PASCAL VOC {years[0]} is in {show_path(root)}.",))
        if years:
            raise DataError(f"{show_path(folder)}: got VOC2007 and VOC2012; valid: the folder of one of them")
    return None


def _find_coco(folder: Path) -> FoundDataset | None:
    years = [year for year in ("2014", "2017") if (folder / "annotations" / f"instances_train{year}.json").is_file()]
    if not years:
        return None
    # The newer year has the larger training split.
    words = ("--year", years[-1])
    return FoundDataset("coco", folder, words, (f"MS-COCO {years[-1]} is in {show_path(folder)}.",))


def _find_chestxray14(folder: Path) -> FoundDataset | None:
    if not any(folder.glob("Data_Entry_2017*.csv")):
        return None
    return FoundDataset("chestxray14", folder, (), (f"ChestX-ray14 is in {show_path(folder)}.",))


def _find_adp(folder: Path) -> FoundDataset | None:
    if not any(folder.glob("ADP_EncodedLabels*.csv")):
        return None
    reason = f"The Atlas of Digital Pathology is in {show_path(folder)}; its third level of classes is used."
    return FoundDataset("adp", folder, ("--level", "L3"), (reason,))


def _find_class_folders(folder: Path) -> FoundDataset:
    """The pictures of a folder, each with the name of its folder as its class."""
    labels: list[tuple[str, str]] = []
    loose = 0
    for place, folders, names in os.walk(folder):
        folders.sort()
        pictures = sorted(name for name in names if name.lower().endswith(PICTURES))
        if Path(place) == folder:
            loose = len(pictures)
            continue
        labels += [(str(Path(place, name).relative_to(folder)), Path(place).name) for name in pictures]
    if strange := next((path for path, _ in labels if show_path(path) != path), None):
        raise DataError(f"{show_path(folder / strange)}: got a name that is not UTF-8; valid: rename it")
    classes = sorted({label for _, label in labels})
    if not labels and not loose:
        raise DataError(
            f"{show_path(folder)}: got no pictures and no table; valid: a table of labels (*.csv, *.parquet) beside "
            "pictures, or a folder of pictures for each class"
        )
    if loose or len(classes) < 2:
        got = count_of(loose + len(labels), "picture")
        raise DataError(
            f"{show_path(folder)}: got {got} without labels; valid: a table of labels (*.csv, *.parquet) beside them, "
            "or a folder for each of at least 2 classes"
        )
    reason = f"{show_path(folder)} has a folder for each of {len(classes)} classes: each picture has one label."
    words = ("--labels-column", "label", "--image-folder", str(folder))
    return FoundDataset(CLASS_FOLDERS, folder, words, (reason,), tuple(labels))


def labels_text(found: Sequence[tuple[str, str]]) -> str:
    """The table of class folders as CSV, with the columns `image` and `label`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("image", "label"))
    writer.writerows(found)
    return text.getvalue()


def _is_manifest(path: Path) -> bool:
    try:
        read_manifest(path)
    except DataError:
        return False
    return True
