"""kmcl resume: a search goes on from its record alone; the file may have been changed, or be gone."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kmcl_platform.config.store import open_store
from kmcl_platform.tracking.runs.leaderboard import read_latest_file, read_leaderboard

pytestmark = pytest.mark.slow


def kmcl(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kmcl_platform.cli", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)


def test_a_search_goes_on_without_its_file(
    small_search: Callable[..., Path], small_manifest: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    file = small_search(tmp_path, small_manifest, epochs=1, trials=2)
    content = file.read_bytes() + b"# byte for byte\r\n"
    file.write_bytes(content)
    assert kmcl("search", file, "--store", store).returncode == 0
    file.unlink()
    assert read_latest_file(open_store(store), "small") == content

    done = kmcl("resume", "small", "--store", store)
    assert done.returncode == 0, done.stderr
    assert "search small: already finished, nothing left to run (budget.trials: all 2 have ended)" in done.stdout

    unknown = kmcl("resume", "smal", "--store", store)
    assert (unknown.returncode, unknown.stderr) == (2, f"kmcl: {store}: no search 'smal'; valid: small\n")
    assert len(read_leaderboard(open_store(store), "small").rows) == 2
