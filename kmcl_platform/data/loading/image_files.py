"""The image files of a folder, found by the suffixes that the installed decoders read."""

import functools
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from PIL import Image, features

from kmcl_platform.errors import DataError
from kmcl_platform.files.file_status import is_file, is_folder
from kmcl_platform.messages import count_of, show_path

# Formats that Pillow recognises but cannot turn into pixels, or only with the help of another program.
_NOT_DECODED = {"BUFR", "EPS", "GRIB", "HDF5", "IPTC", "MPEG", "WMF"}
_FEATURES = {"AVIF": "avif", "JPEG": "jpg", "JPEG2000": "jpg_2000", "MPO": "jpg", "WEBP": "webp"}
"""What Pillow must have been built with to decode a format."""
_SHOWN_KINDS = 8
HIDDEN, NO_SUFFIX = "hidden", "no suffix"


class FoundImages(NamedTuple):
    """What was found in a folder.

    Attributes:
        paths: the image files, sorted.
        others: the number of files of each other kind: a suffix in lower case, `NO_SUFFIX` or `HIDDEN`.
    """

    paths: list[Path]
    others: Mapping[str, int]

    def describe_others(self) -> str:
        """The number of files that are not images, and their kinds, such as "3 files (.txt 2, hidden 1)"."""
        kinds = sorted(self.others.items(), key=lambda kind: (-kind[1], kind[0]))
        shown = [f"{show_path(name)} {count:,}" for name, count in kinds[:_SHOWN_KINDS]]
        if len(kinds) > _SHOWN_KINDS:
            shown.append(f"{len(kinds) - _SHOWN_KINDS:,} more kinds")
        total = sum(self.others.values())
        return f"{count_of(total, 'file')} ({', '.join(shown)})"


@functools.cache
def readable_suffixes() -> tuple[str, ...]:
    """The suffixes of the image files that can be decoded here, in lower case and sorted: `.avif`, `.bmp`, …"""
    Image.init()
    return tuple(
        sorted(
            suffix
            for suffix, kind in Image.registered_extensions().items()
            # MPO has no entry of its own: its files are opened as JPEG.
            if (kind in Image.OPEN or kind == "MPO")
            and kind not in _NOT_DECODED
            and (kind not in _FEATURES or features.check(_FEATURES[kind]))
        )
    )


def find_images(folder: Path) -> FoundImages:
    """The image files of a folder and of all folders in it.

    Links to folders are followed, each folder once. Hidden files and folders are left out: file managers keep
    thumbnails there. They are counted among the others.

    Raises:
        DataError: there are no images, or a folder cannot be read.
    """
    if not is_folder(folder):
        raise DataError(f"{show_path(folder)}: no such folder; valid: a folder with images")
    suffixes = readable_suffixes()
    paths: list[Path] = []
    others: Counter[str] = Counter()
    entered: set[tuple[int, int]] = set()
    for path, folders, files in os.walk(folder, onerror=_refuse, followlinks=True):
        # A folder is recognised by its device and inode, because links give it several paths.
        status = Path(path).stat()
        if (status.st_dev, status.st_ino) in entered:
            # A link leads back to a folder that was walked through already.
            folders.clear()
            continue
        entered.add((status.st_dev, status.st_ino))
        others[HIDDEN] += sum(name.startswith(".") for name in folders)
        # os.walk enters what this list contains after the change.
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            file = Path(path) / name
            if name.startswith("."):
                others[HIDDEN] += 1
            elif file.suffix.lower() in suffixes and is_file(file):
                paths.append(file)
            else:
                others[file.suffix.lower() or NO_SUFFIX] += 1
    if not paths:
        raise DataError(f"{show_path(folder)}: got no images; valid: files that end in {', '.join(suffixes)}")
    # `+` removes the kinds with the count 0.
    return FoundImages(sorted(paths), +others)


def _refuse(error: OSError) -> None:
    """Stop at a folder that cannot be listed: its images would be missing from the result."""
    raise DataError(f"{show_path(error.filename)}: cannot be read ({error.strerror}); valid: a folder that can be read")
