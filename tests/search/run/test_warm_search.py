"""A whole search that begins with the points of another one, and what its record and its report say."""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from kmcl_platform.config.store import Store, open_store
from kmcl_platform.errors import SearchError
from kmcl_platform.search.run.run_search import run_search
from kmcl_platform.tracking.comparison.leaderboard_text import to_table
from kmcl_platform.tracking.runs.leaderboard import read_leaderboard
from tests.support.command_line import kmcl

SEARCH = """
name: {name}
base:
  data: {{source: {source}, image_size: 32, batch_size: 64}}
  model: {{backbone: test_byobnet}}
  optim: {{optimizer: adamw, lr: 5e-3, ema_decay: 0.9}}
  num_epochs: 1
baselines: []
space:
  optim.lr: {{kind: loguniform, low: 1e-3, high: 1e-2}}
budget: {{trials: 3}}
scheduler: {{kind: none}}
sampler: {{kind: random, seed: 3}}
"""


@pytest.fixture
def store(prepared_store: Path) -> Store:
    return open_store(prepared_store)


def search(tmp_path: Path, text: str, store: Store) -> str:
    path = tmp_path / "s.yaml"
    path.write_text(text)
    output = io.StringIO()
    run_search(path, store, Console(file=output, width=200), inline=True)
    return output.getvalue()


def test_a_search_begins_with_the_best_point_of_another_and_says_so(
    tmp_path: Path, store: Store, small_manifest: Path
) -> None:
    search(tmp_path, SEARCH.format(name="first", source=small_manifest), store)
    best = next(row for row in read_leaderboard(store, "first").rows if not row.baseline)
    later = SEARCH.format(name="later", source=small_manifest) + "warm_start: [first]\n"
    said = search(tmp_path, later, store)
    source = f"first trial {best.number}, {best.objective:.4f} there"
    assert f"warm start: first: 3 of 3 trials lie in this space; begins with trial {best.number}\n" in said
    assert f"trial 1: begins with the values of {source}\n" in said
    board = read_leaderboard(store, "later")
    row = next(row for row in board.rows if row.number == 1)
    assert row.source == source and row.values == best.values
    # The same values on the same data: the same number.
    assert row.objective == best.objective
    assert [one.source for one in board.rows].count("") == 2
    assert "warm 1" in to_table(board).columns[1].cells
    page = kmcl("report", "later", "--store", str(store.root), "--out", str(tmp_path / "page.html"))
    assert page.exit_code == 0, page.output
    text = re.sub("<[^>]+>", " ", (tmp_path / "page.html").read_text())
    assert f"1 (from {source})" in text
    assert f"Warm start: first: 3 of 3 trials lie in this space; begins with trial {best.number}" in text
    # It has its points. The earlier search is not needed again.
    assert "warm start:" not in search(tmp_path, later.replace("trials: 3", "trials: 4"), store)


def test_a_search_that_cannot_begin_so_leaves_nothing_behind(tmp_path: Path, small_manifest: Path) -> None:
    text = SEARCH.format(name="later", source=small_manifest) + "warm_start: [first]\n"
    with pytest.raises(SearchError, match="'first', which is no search of this store; valid: no search, because the"):
        search(tmp_path, text, open_store(tmp_path / "new"))
    assert not (tmp_path / "new").exists()
