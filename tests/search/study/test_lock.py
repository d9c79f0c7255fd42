"""The lock of a search: reading its owner does not disturb other processes."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from kmcl_platform.errors import SearchError, StoreError
from kmcl_platform.search.study.lock import SearchLock


def test_a_second_process_is_refused_with_the_name_of_the_first(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from kmcl_platform.search.study.lock import SearchLock;"
        "lock = SearchLock(Path(sys.argv[1]), 's'); lock.acquire(); print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout and holder.stdout.readline() == "held\n"
    lock = SearchLock(tmp_path, "s")
    assert (lock.owner() or "").startswith(f"process {holder.pid} on ")
    with pytest.raises(SearchError, match=rf"search 's' is in use \(process {holder.pid} on .*\); valid: wait until"):
        lock.__enter__()
    holder.kill()
    holder.communicate()
    assert lock.owner() is None
    with lock:
        assert SearchLock(tmp_path, "other").acquire()


def test_a_search_can_start_while_others_read_its_owner(tmp_path: Path) -> None:
    """If `owner` took the lock for a moment, some of these starts would be refused."""
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            SearchLock(tmp_path, "s").owner()

    with SearchLock(tmp_path, "s"):
        pass
    askers = [threading.Thread(target=ask) for _ in range(2)]
    for asker in askers:
        asker.start()
    try:
        for _ in range(40):
            with SearchLock(tmp_path, "s"):
                pass
    finally:
        done.set()
        for asker in askers:
            asker.join()


def test_a_lock_that_cannot_be_read_is_an_error_of_one_line(tmp_path: Path) -> None:
    (tmp_path / "locks" / "s.lock").mkdir(parents=True)
    with pytest.raises(StoreError, match=r"s\.lock: cannot be read: Is a directory; valid: "):
        SearchLock(tmp_path, "s").owner()
