"""MS-COCO 2014 and 2017: the labels of an image are the classes of its instances."""

from array import array
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.data.manifest.table_errors import Fault
from kmcl_platform.data.progress import Progress, silent
from kmcl_platform.data.readers.files import check_distinct, check_present, find_folder, list_names
from kmcl_platform.data.readers.json_stream import read_objects
from kmcl_platform.data.splits.draw import Draw, draw_manifest
from kmcl_platform.errors import DataError
from kmcl_platform.messages import show_path, show_value

COCO_YEARS = ("2014", "2017")
COCO_SPLITS = {"train": "train", "val": "test"}
"""Official split to ours. Published numbers are on COCO's val, so it is our test; our val is drawn out of train."""


_CROWD = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1, "none": 0, "": 0}


class _Part(NamedTuple):
    """One annotation file: N images, K classes."""

    images: list[str]
    class_names: list[str]
    targets_NK: np.ndarray


def read_coco(
    root: Path,
    *,
    year: str = "2017",
    all_negative: str = "keep",
    crowds: str = "positive",
    val_fraction: float = 0.1,
    seed: int = 0,
    duplicates: str = "group",
    near_duplicates: bool = False,
    notes: list[Fault] | None = None,
    progress: Progress = silent,
) -> Manifest:
    """Read one year's instance annotations.

    Args:
        root: the folder with `annotations/`, `train2014/` and so on.
        year: `2014` or `2017`.
        all_negative: `keep` images without an annotation, as negative for every class, or `drop` them; in every split.
        crowds: what a class is if only crowd regions of an image show it: `positive` or `unknown`.
        val_fraction: share of the training images that become `val`, above 0 and below 1.
        seed: of that draw, 0 or more.
        duplicates: what is done with identical pictures, see `draw_manifest`.
        near_duplicates: whether near copies are identical pictures too; all images are then decoded.
        notes: takes remarks about them for the user.

    Raises:
        DataError: an option is unknown, a file or image is missing, or an annotation is not valid.
    """
    for option, value, valid in (
        ("year", year, COCO_YEARS),
        ("all_negative", all_negative, ("keep", "drop")),
        ("crowds", crowds, ("positive", "unknown")),
    ):
        if value not in valid:
            raise DataError(f"{option}: got {show_value(value)}; valid: {', '.join(valid)}")
    folder = find_folder(root, ["."], f"annotations/instances_train{year}.json")
    parts: dict[str, _Part] = {}
    for official in COCO_SPLITS:
        path = folder / "annotations" / f"instances_{official}{year}.json"
        part = _read_part(path, crowds_positive=crowds == "positive", drop=all_negative == "drop", progress=progress)
        images = folder / f"{official}{year}"
        check_present(images, part.images, list_names(images), path.name)
        parts[official] = part
    train, val = parts["train"], parts["val"]
    # The columns of both parts are put below each other, so column k must be the same class.
    if train.class_names != val.class_names:
        raise DataError(
            f"{show_path(folder / 'annotations')}: got different categories in train and val; valid: the same in both"
        )
    targets_NK = np.concatenate([train.targets_NK, val.targets_NK])
    splits = [ours for official, ours in COCO_SPLITS.items() for _ in parts[official].images]
    return draw_manifest(
        name=f"coco{year}",
        version=year,
        class_names=train.class_names,
        splits=splits,
        images=[f"{official}{year}/{name}" for official in COCO_SPLITS for name in parts[official].images],
        targets_NK=targets_NK,
        root=folder,
        draws=[Draw("val", val_fraction, seed)],
        duplicates=duplicates,
        near_duplicates=near_duplicates,
        notes=notes,
        progress=progress,
    )


def _read_part(path: Path, *, crowds_positive: bool, drop: bool, progress: Progress) -> _Part:
    names: dict[int, str] = {}
    categories: dict[int, str] = {}
    # Arrays of plain numbers instead of lists of objects: COCO's 860,000 instances then take 15 MB.
    image_ids, category_ids, crowd = array("q"), array("q"), array("b")
    for key, item in read_objects(path, ("images", "annotations", "categories"), progress):
        if key == "annotations":
            image_ids.append(_whole(path, key, item, "image_id"))
            category_ids.append(_whole(path, key, item, "category_id"))
            crowd.append(_crowd(path, item))
            continue
        known, label = (names, "file_name") if key == "images" else (categories, "name")
        number = _whole(path, key, item, "id")
        if number in known or not isinstance(item.get(label), str):
            raise DataError(
                f"{show_path(path)}: {key}: id {number}: got {show_value(item.get(label))}; "
                f"valid: each id once, with {label}"
            )
        known[number] = item[label]
    check_distinct(show_path(path), list(names.values()), "file names")
    # Ids run from 1 to 90, and some are missing: a class is the position of its id, not the id.
    sorted_ids = sorted(categories)
    rows = _positions(path, "image_id", image_ids, list(names))
    columns = _positions(path, "category_id", category_ids, sorted_ids)
    targets_NK = np.zeros((len(names), len(categories)), dtype=np.int8)
    is_crowd = np.array(crowd, dtype=np.int8).astype(bool)
    # Crowds first: a single instance of the same class makes the label positive, whatever a crowd region says.
    targets_NK[rows[is_crowd], columns[is_crowd]] = 1 if crowds_positive else -1
    targets_NK[rows[~is_crowd], columns[~is_crowd]] = 1
    kept = np.zeros(len(names), dtype=bool)
    # Images with any annotation, also with a crowd region alone.
    kept[rows] = True
    if not drop:
        kept[:] = True
    images = [name for name, keep in zip(names.values(), kept, strict=True) if keep]
    return _Part(images, [categories[number] for number in sorted_ids], targets_NK[kept])


def _whole(path: Path, key: str, item: dict[str, Any], field: str) -> int:
    value = item.get(field)
    # Ids go into arrays of 64 bits. In Python, a truth value is a whole number too.
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= 2**63:
        place = f"id {show_value(item['id'])}: " if "id" in item else ""
        raise DataError(f"{show_path(path)}: {key}: {place}{field}: got {show_value(value)}; valid: a whole number")
    return value


def _crowd(path: Path, item: dict[str, Any]) -> int:
    """1: the annotation is a region of a crowd; 0: it is not, or the field is missing or null."""
    value = item.get("iscrowd")
    # Label Studio and some converters write text; bool("0") would be true.
    known = _CROWD.get(str(value).strip().lower())
    if known is None:
        raise DataError(
            f"{show_path(path)}: annotations: id {show_value(item.get('id'))}: iscrowd: got {show_value(value)}; "
            "valid: 0 or 1"
        )
    return known


def _positions(path: Path, field: str, wanted: "array[int]", known: list[int]) -> np.ndarray:
    """The position of each wanted id in `known`."""
    ids = np.array(known, dtype=np.int64)
    values = np.array(wanted, dtype=np.int64)
    order = np.argsort(ids, kind="stable")
    # A binary search for all instances at the same time. An id that is not listed gets the place where it would be, or
    # the end, so the value there is compared.
    found = np.searchsorted(ids[order], values)
    inside = found < len(ids)
    inside[inside] = ids[order][found[inside]] == values[inside]
    if not inside.all():
        unknown = np.unique(values[~inside])
        raise DataError(
            f"{show_path(path)}: annotations: {field}: {len(unknown)} ids are not listed (first: {unknown[0]}); "
            "valid: ids of the same file"
        )
    positions: np.ndarray = order[found]
    return positions
