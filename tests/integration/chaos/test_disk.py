"""The disk of the store becomes full during a search."""

import errno
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.integration.chaos.disasters import Search, Story, check_one_line, finish, wait_for_end
from tests.support.processes import kill_family
from tests.support.waiting import POLL_SECONDS

pytestmark = pytest.mark.chaos

SIZE = "48m"
BLOCK = bytes(4096)
ROOM = {"checkpoints": 2**18, "databases": 0}
"""Free bytes of the full disk: enough for the databases but for no checkpoint, or for nothing."""
SECONDS_TO_END = 180


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system for one test."""
    folder = tmp_path / "disk"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)]
    mounted = subprocess.run(words, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"a file system of its own cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        # Lazily: this process still holds the databases that it has looked into.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def keep_full(disk: Path, room: int, process: "subprocess.Popen[bytes]") -> None:
    """Keep the disk full until the search has ended, also when files are deleted.

    Args:
        disk: the file system.
        room: free bytes to leave.
        process: the search.
    """
    deadline = time.monotonic() + SECONDS_TO_END
    with (disk / "ballast").open("wb", buffering=0) as ballast:
        while process.poll() is None and time.monotonic() < deadline:
            try:
                while shutil.disk_usage(disk).free > room:
                    ballast.write(BLOCK)
            except OSError as error:
                assert error.errno == errno.ENOSPC
            time.sleep(POLL_SECONDS)


# After an epoch its checkpoint is written first; on another disk checkpoints leave the full one to the databases.
@pytest.mark.parametrize("first", ["checkpoints", "databases"])
def test_the_disk_is_full(first: str, search: Search, disk: Path, tmp_path: Path, undisturbed: Story) -> None:
    search.store = disk / "store"
    if first == "databases":
        search.store.mkdir()
        (tmp_path / "elsewhere").mkdir()
        (search.store / "checkpoints").symlink_to(tmp_path / "elsewhere")
    process = search.start()
    search.wait_for_epoch(process, epoch=3)
    try:
        keep_full(disk, ROOM[first], process)
        code = wait_for_end(search, process, 1)
    finally:
        if process.poll() is None:
            kill_family(process)
    line = rf"kmcl: no space left in {search.store}\S*; valid: make room, then the same command goes on"
    check_one_line(search, code, line)
    # While it is full there is nothing to be begun.
    code = wait_for_end(search, search.start(), 60)
    check_one_line(search, code, line)
    for database in ("optuna.db", "mlflow.db"):
        with closing(sqlite3.connect(search.store / database)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    before = search.look()
    assert search.story()[0][0] == "RUNNING"
    # Where the record could be closed, it was.
    assert search.statuses() == ({"KILLED"} if ROOM[first] else {"RUNNING"})
    (disk / "ballast").unlink()
    finish(search, search.start())
    search.check(undisturbed, before)
