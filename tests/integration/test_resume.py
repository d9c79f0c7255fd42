"""kmcl resume: a search continues from its record alone, without its file."""

from pathlib import Path

import pytest

from kmcl_platform.config.store import open_store
from kmcl_platform.tracking.runs.leaderboard import read_leaderboard
from kmcl_platform.tracking.runs.searches import read_latest_file
from tests.support.command_line import kmcl
from tests.support.finished_search import NUM_TRIALS, FinishedSearch

pytestmark = [pytest.mark.story, pytest.mark.takes(5)]


def test_a_search_continues_without_its_file(finished: FinishedSearch, finished_copy: Path) -> None:
    assert finished.content.endswith(b"# byte for byte\r\n")
    assert read_latest_file(open_store(finished_copy), "small")[0] == finished.content

    done = kmcl("resume", "small", store=finished_copy)
    assert done.exit_code == 0, done.output
    line = f"search small: already finished, nothing left to run (budget.trials: all {NUM_TRIALS} have ended)"
    assert line in done.stdout

    unknown = kmcl("resume", "smal", store=finished_copy)
    assert (unknown.exit_code, unknown.stderr) == (2, f"kmcl: {finished_copy}: no search 'smal'; valid: small\n")
    assert len(read_leaderboard(open_store(finished_copy), "small").rows) == NUM_TRIALS
