"""A search file with finalists: from the search over the new seeds to the promotion."""

from pathlib import Path

import pytest

from kmcl_platform.config.store import open_store
from kmcl_platform.tracking.comparison.finalists import promoted_row, read_finalists
from kmcl_platform.tracking.runs.leaderboard import read_leaderboard
from tests.support.command_line import kmcl, kmcl_process

pytestmark = [pytest.mark.long, pytest.mark.takes(150)]

SEARCH = """
name: final
base:
  data: {{source: {source}, image_size: 32, batch_size: 32}}
  model: {{backbone: test_byobnet}}
  optim: {{optimizer: adamw, lr: 5e-3, ema_decay: 0.9}}
  num_epochs: 1
baselines: []
space:
  optim.lr: {{kind: loguniform, low: 1e-4, high: 1e-2}}
budget: {{trials: 3, checkpoints: 1}}
scheduler: {{kind: none}}
sampler: {{kind: random, seed: 3}}
finalists: {{trials: 2, seeds: 2}}
"""


def test_from_the_search_to_the_promotion(tmp_path: Path, small_manifest: Path, prepared_store: Path) -> None:
    file = tmp_path / "final.yaml"
    file.write_text(SEARCH.format(source=small_manifest))
    done = kmcl_process("search", file, store=prepared_store)
    assert done.exit_code == 0, done.output

    store = open_store(prepared_store)
    board = read_leaderboard(store, "final")
    found = read_finalists(board)
    assert found is not None and found.num_seeds == 2
    assert {board.rows[0].number, board.rows[1].number} <= {one.number for one in found.trials}
    seeds = []
    for one in found.trials:
        again = read_leaderboard(store, f"final-best{one.number}").rows
        assert [trial.outcome for trial in again] == ["completed"] * 2
        seeds.append({trial.values["seed"] for trial in again})
    assert all(own == seeds[0] for own in seeds)
    lines = done.output.splitlines()
    assert all(sentence in lines for sentence in found.sentences())
    report = kmcl("report", "final", "--out", tmp_path / "page.html", store=prepared_store)
    assert report.exit_code == 0, report.output
    page = (tmp_path / "page.html").read_text()
    assert "<h2>Finalists</h2>" in page and all(sentence in page for sentence in found.sentences())

    # The checkpoint of the best finalist is there, although only that of the best value had to stay.
    promoted = kmcl_process("promote", "final", store=prepared_store)
    assert promoted.exit_code == 0, promoted.output
    assert f"best trial   {promoted_row(board).number} of search final" in promoted.output

    second = kmcl("search", file, store=prepared_store)
    assert second.exit_code == 0, second.output
    assert second.stdout.count("already finished") == 1 + len(found.trials)
