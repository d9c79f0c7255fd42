"""A search file with a verdict and no arms: the best trial with kernel terms against the best baseline, on new seeds."""

from pathlib import Path

import pytest

from kmcl_platform.config.store import open_store
from kmcl_platform.tracking.comparison.baselines import compare_leaderboard
from kmcl_platform.tracking.runs.leaderboard import read_leaderboard
from tests.support.command_line import kmcl, kmcl_process

pytestmark = [pytest.mark.long, pytest.mark.takes(120)]

SEARCH = """
name: duel
base:
  data: {{source: {source}, image_size: 32, batch_size: 32}}
  model: {{backbone: test_byobnet}}
  optim: {{optimizer: adamw, lr: 5e-3, ema_decay: 0.9}}
  num_epochs: 1
baselines:
  - {{name: asymmetric, values: {{loss.objective: asymmetric}}}}
space:
  optim.lr: {{kind: loguniform, low: 1e-3, high: 1e-2}}
budget: {{trials: 3}}
scheduler: {{kind: none}}
sampler: {{kind: random, seed: 3}}
verdict: {{seeds: 2}}
"""


def test_from_the_search_to_the_verdict(tmp_path: Path, small_manifest: Path, prepared_store: Path) -> None:
    file = tmp_path / "duel.yaml"
    file.write_text(SEARCH.format(source=small_manifest))
    done = kmcl_process("search", file, store=prepared_store)
    assert done.exit_code == 0, done.output

    store = open_store(prepared_store)
    board = read_leaderboard(store, "duel")
    assert [row.outcome for row in board.rows] == ["completed"] * 3
    comparison = compare_leaderboard(board)
    assert comparison is not None and comparison.best is not None
    # The base and the asymmetric loss are the baselines. The search drew one trial.
    assert (comparison.best.number, comparison.best.baseline, comparison.kmcl) == (2, "", True)
    seeds = []
    for contender in (comparison.best, comparison.baseline):
        again = read_leaderboard(store, f"duel-best{contender.number}").rows
        assert [trial.outcome for trial in again] == ["completed"] * 2
        seeds.append({trial.values["seed"] for trial in again})
    assert seeds[0] == seeds[1]
    (line,) = [line for line in done.output.splitlines() if line.startswith("verdict: ") and "compared with" in line]
    assert line.endswith(", 2 seeds)")
    assert comparison.seeds == board.baseline_verdict == line.removeprefix("verdict: ")
    # The page of the search, which was written before there was a verdict, has it now.
    report = kmcl("report", "duel", "--out", tmp_path / "page.html", store=prepared_store)
    assert report.exit_code == 0, report.output
    assert "2 seeds" in (tmp_path / "page.html").read_text()

    trained = sorted((path, path.stat().st_mtime) for path in (prepared_store / "checkpoints").rglob("trial.json"))
    second = kmcl("search", file, store=prepared_store)
    assert second.exit_code == 0, second.output
    assert second.stdout.count("already finished") == 3
    assert line in second.stdout.splitlines()
    assert sorted((p, p.stat().st_mtime) for p in (prepared_store / "checkpoints").rglob("trial.json")) == trained
