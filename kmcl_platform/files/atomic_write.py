"""Atomic writing: a file or folder is complete or does not exist, also after a crash, a full disk or a power loss.

The new content is written in the same folder under a hidden name, flushed to the disk, then renamed: a rename within a
folder is atomic. The folder is flushed too. On Linux, a rename is safe from a power loss only when its folder is on the
disk (see `man 2 fsync`).
"""

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DRAFT_PREFIX = ".writing-"
"""The name of an unfinished file or folder begins with this."""

# What Linux reports for a file system without hard links, such as FAT or some network file systems.
_NO_HARD_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)


@contextmanager
def atomic_file(path: Path, *, replace: bool = True) -> Iterator[Path]:
    """Write one file completely or not at all.

    Args:
        path: where the file will be. Its folder must exist.
        replace: whether a file that exists at `path` is replaced at the end. Otherwise it stays, also if another
            process has just written it. On a file system without hard links (FAT), a process that writes it at the same
            instant is not noticed.

    Yields:
        The path to write to. If the block raises, that file is removed and `path` is as it was.

    Raises:
        FileExistsError: `path` exists, and is not to be replaced.
        OSError: the file cannot be written, for example because the disk is full.
    """
    draft = draft_path(path)
    try:
        yield draft
        sync_file(draft)
        if replace:
            draft.replace(path)
        else:
            _rename_to_new(draft, path)
        sync_folder(path.parent)
    except BaseException:
        # The draft is missing if it has its final name already, and only the last flush has failed.
        draft.unlink(missing_ok=True)
        raise


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Write one folder completely or not at all.

    Args:
        path: where the folder will be. It must not exist when the block ends, because a folder that has files cannot be
            replaced in one step.

    Yields:
        An empty folder to write to. If the block raises, that folder is removed and `path` does not exist.

    Raises:
        OSError: a file cannot be written, or `path` exists.
    """
    draft = draft_path(path)
    make_folder(path.parent)
    draft.mkdir()
    try:
        yield draft
        for file in sorted(draft.rglob("*")):
            if file.is_file():
                sync_file(file)
            else:
                sync_folder(file)
        sync_folder(draft)
        draft.rename(path)
        sync_folder(path.parent)
    except BaseException:
        # This frees space on the disk, which the caller may need to record the failure.
        shutil.rmtree(draft, ignore_errors=True)
        raise


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a text (as UTF-8) or bytes into a file, completely or not at all.

    Raises:
        OSError: the file cannot be written.
    """
    with atomic_file(path) as draft:
        draft.write_bytes(content.encode() if isinstance(content, str) else content)


def make_folder(path: Path) -> None:
    """Make a folder and its missing parents, and wait until their names are on the disk.

    Raises:
        OSError: a folder cannot be made, for example because a file has its name.
    """
    if not path.is_dir():
        make_folder(path.parent)
        # Another process may make the same folder at the same time.
        path.mkdir(exist_ok=True)
        sync_folder(path.parent)


def draft_path(path: Path) -> Path:
    """A hidden name in the same folder as a path. No other process or thread uses it."""
    # The random part, because processes of two machines that share a disk can have the same number.
    return path.with_name(f"{DRAFT_PREFIX}{path.name}-{os.getpid()}-{secrets.token_hex(4)}")


def _rename_to_new(draft: Path, path: Path) -> None:
    """Rename a file, unless the new name exists."""
    try:
        # A rename replaces what has the new name, and Python has no call that does not. A hard link never replaces.
        os.link(draft, path)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        draft.replace(path)
    else:
        # A process that is killed before this line leaves the draft as a second name of the complete file.
        draft.unlink()


def sync_file(path: Path) -> None:
    """Wait until a file's content is on the disk."""
    _sync(path, os.O_RDONLY)


def sync_folder(path: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    _sync(path, os.O_RDONLY | os.O_DIRECTORY)


def _sync(path: Path, flags: int) -> None:
    # On Linux, fsync needs no right to write, and a folder can only be opened for reading.
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
