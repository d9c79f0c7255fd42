"""What is at a path that a user gave. A path that the system refuses is not there, and no error is raised.

`Path.exists` and its kind raise an OSError for a name that is too long and for a folder that may not be entered. The
next command that opens or writes the path then fails with an error that the caller handles.
"""

import os
from pathlib import Path


def is_there(path: Path) -> bool:
    """Whether a file or folder exists.

    >>> is_there(Path("a" * 1000)), is_there(Path("/"))
    (False, True)
    """
    return os.path.exists(path)  # noqa: PTH110


def is_file(path: Path) -> bool:
    """Whether a file exists, also through a link."""
    return os.path.isfile(path)  # noqa: PTH113


def is_folder(path: Path) -> bool:
    """Whether a folder exists, also through a link."""
    return os.path.isdir(path)  # noqa: PTH112


def is_link(path: Path) -> bool:
    """Whether a symbolic link is there, also one to nothing."""
    return os.path.islink(path)  # noqa: PTH114


def is_same_file(one: Path, other: Path) -> bool:
    """Whether two paths name one file that exists, also through links and hard links."""
    return is_there(one) and is_there(other) and one.samefile(other)
