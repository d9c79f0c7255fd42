"""A search whose hours are spent ends by itself, keeps its running trial, and continues when the budget is raised."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from kmcl_platform.config.store import open_store
from kmcl_platform.search.run.run_search import run_search
from kmcl_platform.search.run.running_search import SearchSummary
from kmcl_platform.tracking.runs.leaderboard import read_leaderboard

pytestmark = [pytest.mark.long, pytest.mark.takes(60)]

OVERSHOOT_SECONDS = 20.0
"""One turn of Tune's loop (a second), then `JOIN_SECONDS` (10) in which the workers end; more on a busy machine."""


def spent_hours(ended: SearchSummary) -> float:
    spent = re.fullmatch(r"budget\.hours: (\S+) of \S+ spent", ended.reason)
    assert spent, ended.reason
    return float(spent[1])


def test_hours(small_search: Callable[..., Path], small_manifest: Path, tmp_path: Path, prepared_store: Path) -> None:
    file = small_search(tmp_path, small_manifest, epochs=400, trials=1)
    text = file.read_text()
    # Less time than Ray Train takes to start the workers: the trial never reports, and is stopped all the same.
    file.write_text(text.replace("trials: 1", "trials: 1, hours: 0.0005"))
    store = open_store(prepared_store)
    quiet = Console(quiet=True)
    (ended,) = run_search(file, store, quiet)
    assert not ended.interrupted
    assert spent_hours(ended) < 0.0005 + OVERSHOOT_SECONDS / 3600
    (row,) = read_leaderboard(store, "small").rows
    assert (row.outcome, row.epochs) == ("interrupted", 0)

    (found,) = run_search(file, store, quiet)
    assert found.already_finished
    assert found.reason == ended.reason

    more, later = ended, row
    # On a slow machine, one such piece of time can be too short to start the workers and train an epoch.
    while not later.epochs and spent_hours(more) < 0.2:
        file.write_text(text.replace("trials: 1", f"trials: 1, hours: {spent_hours(more) + 0.015}"))
        (more,) = run_search(file, store, quiet)
        assert not more.already_finished
        (later,) = read_leaderboard(store, "small").rows
        assert (later.run_id, later.number) == (row.run_id, row.number)
    assert row.epochs < later.epochs < 400
