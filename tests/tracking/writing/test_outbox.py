"""The outbox keeps writes in their order until they are removed, also if its process dies."""

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from kmcl_platform.config.store import open_store
from kmcl_platform.tracking.writing.outbox import Outbox

ADDS_AND_DIES = """
import os, signal, sys
from pathlib import Path
from kmcl_platform.config.store import open_store
from kmcl_platform.tracking.writing.outbox import Outbox
box = Outbox(open_store(Path(sys.argv[1])), "s")
for number in range(20):
    box.add("begin", {"number": number})
box.remove(box.peek(5))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_entries_stay_when_their_process_is_killed(tmp_path: Path) -> None:
    dead = subprocess.run([sys.executable, "-c", ADDS_AND_DIES, str(tmp_path)], check=False, timeout=120)
    assert dead.returncode == -signal.SIGKILL
    box = Outbox(open_store(tmp_path), "s")
    assert len(box) == 15
    assert [entry.content["number"] for entry in box.peek(100)] == list(range(5, 20))
    box.add("end", {"number": 20})
    (*_, last) = box.peek(100)
    assert (last.kind, last.content) == ("end", {"number": 20})
    # A number is never given twice: an entry that was removed cannot be confused with a later one.
    assert last.place == 21
    box.close()


def test_a_search_has_an_outbox_of_its_own(tmp_path: Path) -> None:
    one, other = Outbox(open_store(tmp_path), "one"), Outbox(open_store(tmp_path), "other")
    one.add("end", {})
    assert (len(one), len(other)) == (1, 0)
    assert sorted(os.listdir(tmp_path / "outbox")) == ["one.db", "other.db"]


def test_several_writes_are_added_together_or_not_at_all(tmp_path: Path) -> None:
    box = Outbox(open_store(tmp_path), "s")
    box.add_all("epoch", [{"number": 0}, {"number": 1}])
    with pytest.raises(TypeError, match="not JSON serializable"):
        box.add_all("epoch", [{"number": 2}, {"number": object()}])
    box._connection.execute("PRAGMA max_page_count = 1")
    with pytest.raises(sqlite3.OperationalError, match="full"):
        box.add_all("epoch", [{"number": 3}, {"text": "x" * 100_000}])
    assert [entry.content for entry in box.peek(9)] == [{"number": 0}, {"number": 1}]
    box._connection.execute("PRAGMA max_page_count = 1000000")
    box.add("end", {"number": 0})
    assert len(box) == 3
    box.close()
