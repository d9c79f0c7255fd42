"""What the readers of official layouts share: folders, lists of names, and images that must exist."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from kmcl_platform.data.tables.encodings import decode_text, split_lines
from kmcl_platform.errors import DataError
from kmcl_platform.files.file_status import is_there
from kmcl_platform.messages import show_path, show_value

_SHOWN = 3


def find_folder(root: Path, candidates: Sequence[str], marker: str) -> Path:
    """The first folder `root / candidate` that contains `marker`, resolved.

    Raises:
        DataError: no folder contains it.
    """
    for candidate in candidates:
        folder = root / candidate
        if is_there(folder / marker):
            return folder.resolve()
    places = ", ".join(show_path(root / candidate / marker) for candidate in candidates)
    raise DataError(f"{show_path(root)}: not the official layout: {marker} is missing; valid: one of {places}")


def read_lines(path: Path) -> list[str]:
    """The lines of a text file that are not empty; UTF-8 or UTF-16, with the line ends of any system.

    Raises:
        DataError: the file is missing or not text in a known encoding.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{show_path(path)}: cannot be read ({error.strerror}); valid: a text file of the official layout"
        ) from None
    return [line for line in split_lines(decode_text(path, data)) if line.strip()]


def list_names(folder: Path) -> frozenset[str]:
    """The names in a folder.

    One listing is far faster than 100,000 tests whether a file exists.

    Raises:
        DataError: the folder is missing.
    """
    try:
        with os.scandir(folder) as entries:
            return frozenset(entry.name for entry in entries)
    except OSError as error:
        raise DataError(
            f"{show_path(folder)}: cannot be listed ({error.strerror}); valid: the folder of the images"
        ) from None


def check_present(folder: Path, wanted: Iterable[str], present: Iterable[str], named_by: str) -> None:
    """Check that all images that a list names are in a folder.

    Raises:
        DataError: images are missing; the message has their number and the first names.
    """
    have = frozenset(present)
    missing = [name for name in wanted if name not in have]
    if missing:
        raise DataError(
            f"{show_path(folder)}: {len(missing)} images are missing ({shown(missing)}); "
            f"valid: every image that {named_by} names"
        )


def check_distinct(where: str, names: Sequence[str], what: str) -> None:
    """Check that all names are different.

    Raises:
        DataError: names are repeated; the message has their number and the first names.
    """
    seen: set[str] = set()
    # `add` returns None, so the second condition only remembers the name.
    repeated = [name for name in names if name in seen or seen.add(name)]  # type: ignore[func-returns-value]
    if repeated:
        raise DataError(f"{where}: {len(repeated)} {what} appear twice ({shown(repeated)}); valid: each once")


def shown(names: Sequence[str]) -> str:
    """The first few of many names, for a message."""
    return ", ".join(show_value(show_path(name)) for name in names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
