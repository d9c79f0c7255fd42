"""What the readers of official layouts share: folders, lists of names, images that must be there, progress."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from kmcl_platform.errors import DataError

_SHOWN = 3


def find_folder(root: Path, candidates: Sequence[str], marker: str) -> Path:
    """The first of `root / candidate` that holds `marker`, resolved.

    Raises:
        DataError: none does.
    """
    for candidate in candidates:
        folder = root / candidate
        if (folder / marker).exists():
            return folder.resolve()
    places = ", ".join(str(root / candidate / marker) for candidate in candidates)
    raise DataError(f"{root}: not the official layout: {marker} is missing; valid: one of {places}")


def read_lines(path: Path) -> list[str]:
    """The lines of a text file that are not empty.

    Raises:
        DataError: the file is missing or not text.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise DataError(f"{path}: cannot be read ({reason}); valid: a text file of the official layout") from None
    return [line for line in text.splitlines() if line.strip()]


def list_names(folder: Path) -> frozenset[str]:
    """The names in a folder: one listing is far quicker than a look at each of 100,000 images.

    Raises:
        DataError: the folder is missing.
    """
    try:
        with os.scandir(folder) as entries:
            return frozenset(entry.name for entry in entries)
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed ({error.strerror}); valid: the folder of the images") from None


def check_present(folder: Path, wanted: Iterable[str], present: Iterable[str], named_by: str) -> None:
    """See that all images that a list names lie in a folder.

    Raises:
        DataError: some do not; counts them and names the first.
    """
    have = frozenset(present)
    missing = [name for name in wanted if name not in have]
    if missing:
        raise DataError(
            f"{folder}: {len(missing)} images are missing ({shown(missing)}); valid: every image that {named_by} names"
        )


def check_distinct(where: str, names: Sequence[str], what: str) -> None:
    """See that no name comes twice.

    Raises:
        DataError: one does; counts them and names the first.
    """
    seen: set[str] = set()
    repeated = [name for name in names if name in seen or seen.add(name)]  # type: ignore[func-returns-value]
    if repeated:
        raise DataError(f"{where}: {len(repeated)} {what} come twice ({shown(repeated)}); valid: each once")


def shown(names: Sequence[str]) -> str:
    """The first few of many names, for a message."""
    return ", ".join(map(repr, names[:_SHOWN])) + (", …" if len(names) > _SHOWN else "")
