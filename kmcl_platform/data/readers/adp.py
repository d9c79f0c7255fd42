"""ADP, the Atlas of Digital Pathology, release 1 with flat labels: histological tissue types in a hierarchy.

Source of the levels: Hosseini et al., "Atlas of Digital Pathology", CVPR 2019, and the data loader released with it.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.data.manifest.table_errors import Fault, check_faults
from kmcl_platform.data.progress import Progress, silent
from kmcl_platform.data.readers.files import check_distinct, check_present, find_folder, list_names
from kmcl_platform.data.splits.draw import draw_manifest
from kmcl_platform.data.tables.columns import class_columns_to_targets
from kmcl_platform.data.tables.text_table import read_text_table
from kmcl_platform.errors import DataError
from kmcl_platform.messages import show_path, show_value

ADP_TYPES = (
    "E", "E.M", "E.M.S", "E.M.C", "E.T", "E.T.S", "E.T.C", "C", "C.D", "C.D.I", "C.D.R", "C.L", "H", "H.E", "H.K",
    "H.Y", "S", "S.M", "S.C", "S.R", "A", "A.W", "A.M", "M", "N", "N.P", "N.R", "N.G", "N.G.M", "G", "G.O", "G.N", "T",
)  # fmt: skip
"""The 33 tissue types: E.M.S is below E.M in the hierarchy, and E.M below E."""
ADP_LEVELS: dict[str, tuple[str, ...]] = {
    "L1": tuple(name for name in ADP_TYPES if name.count(".") == 0),
    "L2": tuple(name for name in ADP_TYPES if name.count(".") <= 1),
    "L3": ADP_TYPES,
    "L3Only": tuple(name for name in ADP_TYPES if not any(other.startswith(f"{name}.") for other in ADP_TYPES)),
}
"""Level to its types: the 9 at the top, the 26 of the upper two levels, all 33, and the 22 without a type below."""
ADP_SPLITS = {"train": "train", "valid": "val", "test": "test"}

_IMAGES = "img_res_1um_bicubic"
_LABELS = "ADP_EncodedLabels_Release1_Flat.csv"
_NAMES = "Patch Names"


def read_adp(
    root: Path,
    *,
    level: str = "L3Only",
    all_negative: str = "keep",
    duplicates: str = "group",
    near_duplicates: bool = False,
    notes: list[Fault] | None = None,
    progress: Progress = silent,
) -> Manifest:
    """Read one level of the hierarchy, in the dataset's own three splits.

    Args:
        root: the folder `ADP V1.0 Release`, or the one that contains it.
        level: `L1`, `L2`, `L3` or `L3Only`.
        all_negative: `keep` rows without any label at this level, as negative for every class, or `drop` them.
        duplicates: what is done with identical pictures, see `draw_manifest`.
        near_duplicates: whether near copies are identical pictures too; all images are then decoded.
        notes: takes remarks about them for the user.

    Raises:
        DataError: an option is unknown, a file or image is missing, or a label or split is not valid.
    """
    for option, value, valid in (
        ("level", level, tuple(ADP_LEVELS)),
        ("all_negative", all_negative, ("keep", "drop")),
    ):
        if value not in valid:
            raise DataError(f"{option}: got {show_value(value)}; valid: {', '.join(valid)}")
    classes = ADP_LEVELS[level]
    folder = find_folder(root, ["ADP V1.0 Release", "."], _LABELS)
    path = folder / _LABELS
    frame = read_text_table(path, [_NAMES, *classes])
    progress(_LABELS, 1, 5)
    faults: list[Fault] = []
    # The table's rows of all splits are checked, also those that no split names.
    targets_NK = class_columns_to_targets(frame, classes, unknown=False, faults=faults)
    check_faults(show_path(path), faults)
    names = frame[_NAMES].tolist()
    check_distinct(show_path(path), names, "patch names")
    rows, splits = _read_splits(folder / "splits", len(frame), progress)
    check_present(folder / _IMAGES, [names[row] for row in rows], list_names(folder / _IMAGES), _LABELS)
    progress(_IMAGES, 5, 5)
    if all_negative == "drop":
        labelled = targets_NK[rows].any(axis=1)
        splits = [split for split, keep in zip(splits, labelled, strict=True) if keep]
        rows = rows[labelled]
    return draw_manifest(
        name=f"adp-{level}",
        version="1.0",
        class_names=classes,
        splits=splits,
        images=[f"{_IMAGES}/{names[row]}" for row in rows],
        targets_NK=targets_NK[rows],
        root=folder,
        duplicates=duplicates,
        near_duplicates=near_duplicates,
        notes=notes,
        progress=progress,
    )


def _read_splits(folder: Path, num_rows: int, progress: Progress) -> tuple[np.ndarray, Sequence[str]]:
    """Rows of the table in all splits, and the split of each."""
    parts: list[np.ndarray] = []
    splits: list[str] = []
    for number, (official, ours) in enumerate(ADP_SPLITS.items()):
        path = folder / f"{official}.npy"
        try:
            # Without pickles: a pickled object can run code when it is read.
            rows = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or "not an array of numbers"
            raise DataError(f"{show_path(path)}: cannot be read ({reason}); valid: row numbers of {_LABELS}") from None
        if not isinstance(rows, np.ndarray) or rows.ndim != 1 or rows.dtype.kind not in "iu" or not rows.size:
            raise DataError(
                f"{show_path(path)}: got {getattr(rows, 'dtype', type(rows).__name__)}; valid: a list of row numbers"
            )
        # NumPy would read a negative row number as one from the end.
        outside = rows[(rows < 0) | (rows >= num_rows)]
        if outside.size:
            raise DataError(
                f"{show_path(path)}: {outside.size} row numbers are outside the table (first: {outside[0]}); "
                f"valid: 0 to {num_rows - 1}"
            )
        # One type: NumPy joins unsigned and signed numbers of 64 bits to floating-point numbers.
        parts.append(rows.astype(np.int64))
        splits += [ours] * len(rows)
        progress(path.name, number + 2, 5)
    rows = np.concatenate(parts)
    values, counts = np.unique(rows, return_counts=True)
    if (counts > 1).any():
        raise DataError(
            f"{show_path(folder)}: {int((counts > 1).sum())} row numbers appear twice "
            f"(first: {values[counts > 1][0]}); valid: each in one split, once"
        )
    return rows, splits
