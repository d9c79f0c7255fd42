"""The cells of a user's table that are not labels: splits, images and groups, each fault by row and column."""

import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from kmcl_platform.data.manifest.manifest import SPLITS
from kmcl_platform.data.manifest.table_errors import Fault
from kmcl_platform.data.progress import Progress
from kmcl_platform.data.tables.label_cells import MISSING_WORDS
from kmcl_platform.messages import show_path, show_value

_HINTS = 5
"""Missing images for which a file of a similar name is looked for: it takes a listing of their folder."""


def read_splits(cells: Iterable[str], column: str, faults: list[Fault]) -> list[str]:
    """N splits out of the cells of a column; `Train` is `train`."""
    splits = []
    for row, cell in enumerate(cells):
        split = cell.strip().lower()
        if split not in SPLITS:
            got = show_value(cell.strip())
            faults.append(Fault("split that is not valid", f"got {got}; valid: {', '.join(SPLITS)}", row, column))
        splits.append(split)
    return splits


def read_images(
    cells: Iterable[str], splits: Sequence[str], column: str, folder: Path, progress: Progress, faults: list[Fault]
) -> list[str]:
    """N paths of images out of the cells of a column, each an existing file that is in no other row.

    Args:
        cells: N paths; relative ones start from `folder`. `\\` separates folders where no such file exists otherwise.
        splits: of the same rows; a path in two of them is a fault of its own.
        progress: is called with the number of images that were searched for.
        faults: takes a fault for each image that is empty, missing or repeated.
    """
    images = [cell.strip() for cell in cells]
    first: dict[str, int] = {}
    hints = 0
    for row, image in enumerate(images):
        if row % 1000 == 0 or row + 1 == len(images):
            progress("images", row + 1, len(images))
        if not image or image.lower() in MISSING_WORDS:
            got = show_value(image) if image else "nothing"
            faults.append(Fault("empty cell", f"got {got}; valid: the path of an image", row, column))
            continue
        path = _normal(folder, image)
        earlier = first.get(path)
        if earlier is None and not _is_file(path):
            # A table from Windows. A `\` may also be part of a name here, so the path as it is was tried first.
            slashes = image.replace("\\", "/")
            if _is_file(_normal(folder, slashes)):
                images[row], path = slashes, _normal(folder, slashes)
                earlier = first.get(path)
            else:
                faults.append(Fault("missing image", _missing(image, path, hint=hints < _HINTS), row, column))
                hints += 1
        first.setdefault(path, row)
        if earlier is not None and splits[earlier] != splits[row]:
            places = f"in {splits[row]}, which row {earlier} has in {splits[earlier]}"
            faults.append(
                Fault("image in two splits", f"got {show_value(image)} {places}; valid: one split", row, column)
            )
        elif earlier is not None:
            message = f"got {show_value(image)}, the image of row {earlier}; valid: one row for each image"
            faults.append(Fault("image twice", message, row, column))
    return images


def read_groups(cells: Iterable[str], splits: Sequence[str], column: str, faults: list[Fault]) -> list[str]:
    """N groups out of the cells of a column; a group in two splits is a fault."""
    groups = [cell.strip() for cell in cells]
    first: dict[str, int] = {}
    for row, group in enumerate(groups):
        # All rows whose patient is not known would otherwise be one patient.
        if not group or group.lower() in MISSING_WORDS:
            got = show_value(group) if group else "nothing"
            faults.append(Fault("empty cell", f"got {got}; valid: a group", row, column))
            continue
        earlier = first.setdefault(group, row)
        if splits[earlier] != splits[row]:
            message = f"got {show_value(group)} in {splits[row]}, which row {earlier} has in {splits[earlier]}"
            faults.append(Fault("group in two splits", f"{message}; valid: one split", row, column))
    return groups


def _normal(folder: Path, image: str) -> str:
    return os.path.normpath(os.path.join(folder, image))  # noqa: PTH118  (Path is far slower, for 100,000 images)


def _is_file(path: str) -> bool:
    # No file has a name with a NUL character, or a name that is too long.
    try:
        return os.path.isfile(path)  # noqa: PTH113
    except ValueError:
        return False


def _missing(image: str, path: str, *, hint: bool) -> str:
    got = f"got {show_value(image)}"
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", image):
        return f"{got}: an address; valid: the path of a file on this machine"
    # Without the quotes.
    place = show_value(show_path(path))[1:-1]
    similar = _similar_name(Path(path)) if hint else None
    there = f" (there is {similar!r})" if similar else ""
    return f"{got}: no such file ({place}){there}; valid: an image, its path counted from --image-folder"


def _similar_name(path: Path) -> str | None:
    """A file in the folder whose name differs only in upper case, suffix or the form of its accents."""
    try:
        names = os.listdir(path.parent)  # noqa: PTH208
    except (OSError, ValueError):
        return None
    # First names that differ in upper case or accents, then in the suffix, then names for which the table has no
    # suffix.
    for same in (_plain, lambda name: _plain(name.rpartition(".")[0] or name)):
        for name in sorted(names):
            if same(name) == same(path.name):
                return show_path(name)
    return next((name for name in sorted(names) if _plain(Path(name).stem) == _plain(path.name)), None)


def _plain(name: str) -> str:
    # macOS stores an accent as a separate character; most other systems do not.
    return unicodedata.normalize("NFC", name).casefold()
