"""What the tests of one session make once and share, also between the processes of pytest-xdist."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from kmcl_platform.files.file_lock import FileLock


def session_folder(factory: pytest.TempPathFactory) -> Path:
    """The folder of the session that all processes of pytest-xdist see."""
    base = factory.getbasetemp()
    # Each process of pytest-xdist has a folder of its own below the session's.
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


def make_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder of the session that the first process to need it fills. The others wait until it is filled.

    Args:
        factory: pytest's factory of temporary folders.
        name: of the folder.
        make: is given the empty folder.

    Raises:
        AssertionError: `make` failed before, in this or another process; its own report has the reason.
    """
    folder = session_folder(factory) / name
    done, begun = folder / ".made", folder / ".begun"
    with FileLock(folder.parent / f"{name}.lock").hold():
        if not done.exists():
            assert not begun.exists(), f"{name}: could not be made; the first test that needed it says why"
            folder.mkdir()
            begun.touch()
            make(folder)
            done.touch()
    return folder


def restore_environment(before: dict[str, str]) -> None:
    """Give every environment variable of this process the value that it had before.

    Only what differs is set: threads of an object store's client read the environment in C, without Python's lock.
    """
    own = "PYTEST_CURRENT_TEST"  # pytest's own record of the test and its phase
    for name in os.environ.keys() - before.keys() - {own}:
        del os.environ[name]
    for name, value in before.items():
        if name != own and os.environ.get(name) != value:
            os.environ[name] = value
