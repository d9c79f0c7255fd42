"""One process has a lock at a time. Reading which one does not take the lock, and its death releases it."""

import os
import resource
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kmcl_platform.files.file_lock import FileLock


@contextmanager
def another_process(then: Callable[[], None]) -> Iterator[int]:
    """A process that calls `then` and waits until it is killed; yields its number."""
    done, ready = os.pipe()
    child = os.fork()
    if child == 0:
        then()
        os.write(ready, b"1")
        signal.pause()
    try:
        os.close(ready)
        assert os.read(done, 1) == b"1"
        yield child
    finally:
        os.close(done)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def acquire(path: Path) -> None:
    lock = FileLock(path)
    assert lock.acquire()
    KEPT.append(lock)


KEPT: list[object] = []
"""Objects of a child process. Without a reference, Python would close their files and so release their locks."""


def test_a_lock_of_another_process_is_seen_and_respected(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "made" / "a.lock")
    with another_process(lambda: acquire(lock.path)) as child:
        assert lock.owner() == f"process {child} on {socket.gethostname()}"
        assert not lock.acquire()
        assert not lock.acquire(seconds=0.01)
        with lock.hold(seconds=0) as held:
            assert not held
        # The refused attempts did not change the name in the file.
        assert lock.owner() == f"process {child} on {socket.gethostname()}"
    # The process was killed, so the operating system released the lock.
    assert lock.owner() is None
    assert lock.acquire()
    lock.release()


def test_a_waiting_process_gets_the_lock_when_the_other_one_dies(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "a.lock")
    with another_process(lambda: acquire(lock.path)) as child:
        threading.Timer(0.05, os.kill, (child, signal.SIGKILL)).start()
        assert lock.acquire(seconds=60)
        assert lock.owner() == f"process {os.getpid()} on {socket.gethostname()}"
    lock.release()


def test_reading_the_owner_never_takes_the_lock(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "a.lock")
    lock.acquire()
    lock.release()

    def read_owner() -> None:
        threading.Thread(target=lambda: [FileLock(lock.path).owner() for _ in iter(int, 1)], daemon=True).start()

    with another_process(read_owner):
        for _ in range(2000):
            assert lock.acquire()
            lock.release()


def test_a_lock_is_released_when_a_block_raises(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "a.lock")
    with pytest.raises(RuntimeError), lock.hold():
        raise RuntimeError
    assert FileLock(lock.path).acquire()


def test_a_lock_that_was_never_made_has_no_owner(tmp_path: Path) -> None:
    assert FileLock(tmp_path / "a.lock").owner() is None
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_lock_free(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"

    def fail() -> None:
        # No file may grow: the text of the owner cannot be written.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        with pytest.raises(OSError) as raised:
            FileLock(path).acquire()
        # A stored exception keeps the frame of `acquire`, and with it a file that was not closed.
        KEPT.append(raised.value)

    with another_process(fail):
        assert FileLock(path).owner() is None
