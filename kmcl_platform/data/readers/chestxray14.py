"""ChestX-ray14 of the NIH: 112,120 X-rays of 30,805 patients, 14 findings.

Source: Wang et al., "ChestX-ray8", CVPR 2017, and the README of the release. An image with
`No Finding` is a real sample that is negative for every class.
"""

from pathlib import Path

import numpy as np

from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.data.manifest.table_errors import Fault, check_faults
from kmcl_platform.data.progress import Progress, silent
from kmcl_platform.data.readers.files import check_distinct, check_present, list_names, read_lines, shown
from kmcl_platform.data.splits.draw import Draw, draw_manifest
from kmcl_platform.data.tables.columns import joined_labels_to_targets
from kmcl_platform.data.tables.text_table import read_text_table
from kmcl_platform.errors import DataError
from kmcl_platform.files.file_status import is_file, is_folder
from kmcl_platform.messages import show_path

CHEST_CLASSES = (
    "Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax",
    "Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening", "Hernia",
)  # fmt: skip
CHEST_SPLITS = {"train_val_list.txt": "train", "test_list.txt": "test"}

_TABLES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv")
"""The table of the release and its correction; if both exist, the correction is read."""
_IMAGE, _FINDINGS, _PATIENT = "Image Index", "Finding Labels", "Patient ID"


def read_chestxray14(
    root: Path,
    *,
    val_fraction: float = 0.1,
    seed: int = 0,
    duplicates: str = "group",
    near_duplicates: bool = False,
    notes: list[Fault] | None = None,
    progress: Progress = silent,
) -> Manifest:
    """Read the official split by patient. `val` is drawn from `train`, and all images of a patient are in one split.

    Args:
        root: the folder of the table, the two lists, and `images/` or `images_001/images/` and so on.
        val_fraction: share of the training images that become `val`, above 0 and below 1.
        seed: of that draw, 0 or more.
        duplicates: what is done with identical pictures, see `draw_manifest`.
        near_duplicates: whether near copies are identical pictures too; all images are then decoded.
        notes: takes remarks about them for the user.

    Raises:
        DataError: a file or image is missing, a finding is unknown, an image is in no list or in two, or a patient is
            in two lists.
    """
    path = next((root / name for name in _TABLES if is_file(root / name)), None)
    if path is None:
        raise DataError(
            f"{show_path(root)}: not the official layout: the table is missing; valid: {' or '.join(_TABLES)}"
        )
    frame = read_text_table(path, [_IMAGE, _FINDINGS, _PATIENT])
    names, patients = frame[_IMAGE].tolist(), frame[_PATIENT].tolist()
    check_distinct(show_path(path), names, "images")
    progress(path.name, 1, 3)
    faults: list[Fault] = []
    _, targets_NK = joined_labels_to_targets(
        frame[_FINDINGS].tolist(), _FINDINGS, CHEST_CLASSES, separator="|", no_label="No Finding", faults=faults
    )
    # An empty cell is an error here, unlike in a user's own table: a healthy image has `No Finding`.
    faults += [
        Fault("empty cell", "got nothing; valid: findings, or No Finding", row, column)
        for column in (_FINDINGS, _PATIENT)
        for row in np.flatnonzero((frame[column].str.strip() == "").to_numpy()).tolist()
    ]
    check_faults(show_path(path), faults)
    splits = _read_splits(root, path, names)
    # X-rays of one patient resemble each other. With the patient in two splits, the score would be too good.
    _check_patients(root, patients, splits)
    progress("lists", 2, 3)
    places = _find_images(root)
    check_present(root, names, places, path.name)
    progress("images", 3, 3)
    return draw_manifest(
        name="chestxray14",
        version=path.stem.removeprefix("Data_Entry_"),
        class_names=CHEST_CLASSES,
        splits=splits,
        images=[places[name] for name in names],
        targets_NK=targets_NK,
        root=root.resolve(),
        # The release has no validation list: its first list is for training and validation together.
        draws=[Draw("val", val_fraction, seed)],
        groups=patients,
        duplicates=duplicates,
        near_duplicates=near_duplicates,
        notes=notes,
        progress=progress,
    )


def _read_splits(root: Path, table: Path, names: list[str]) -> list[str]:
    """The split of each image of the table."""
    split_of: dict[str, str] = {}
    for file, split in CHEST_SPLITS.items():
        listed = [line.strip() for line in read_lines(root / file)]
        check_distinct(show_path(root / file), listed, "images")
        # Between the lists; `check_distinct` has looked within this one.
        twice = [name for name in listed if name in split_of]
        if twice:
            raise DataError(
                f"{show_path(root / file)}: {len(twice)} images are in both lists ({shown(twice)}); "
                "valid: each image in one"
            )
        split_of |= dict.fromkeys(listed, split)
    # Both directions: the lists and the table must name exactly the same images.
    known = set(names)
    for problem, wrong in (
        (f"that {table.name} does not have", [name for name in split_of if name not in known]),
        ("in neither list", [name for name in names if name not in split_of]),
    ):
        if wrong:
            raise DataError(
                f"{show_path(root)}: {' and '.join(CHEST_SPLITS)}: {len(wrong)} images {problem} ({shown(wrong)}); "
                "valid: each image of the table in one list"
            )
    return [split_of[name] for name in names]


def _check_patients(root: Path, patients: list[str], splits: list[str]) -> None:
    seen: dict[str, set[str]] = {}
    for patient, split in zip(patients, splits, strict=True):
        seen.setdefault(patient, set()).add(split)
    both = [patient for patient, where in seen.items() if len(where) > 1]
    if both:
        raise DataError(
            f"{show_path(root)}: {' and '.join(CHEST_SPLITS)}: {len(both)} patients are in both ({shown(both)}); "
            "valid: each patient in one"
        )


def _find_images(root: Path) -> dict[str, str]:
    """Each name of a file in the image folders, with its path from the root."""
    folders = [folder for folder in (root / "images", *sorted(root.glob("images_*/images"))) if is_folder(folder)]
    if not folders:
        raise DataError(
            f"{show_path(root)}: images are missing; valid: images/, or images_001/images/ to images_012/images/"
        )
    return {
        name: f"{folder.relative_to(root).as_posix()}/{name}"
        for folder in folders
        for name in sorted(list_names(folder))
    }
