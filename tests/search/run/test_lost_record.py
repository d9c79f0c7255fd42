"""A search does not go on without its record in MLflow, which would lose epochs, nor without its study.

Without the study, new trials would be written into the runs of those that were.
"""

import shutil
from pathlib import Path

import pytest

from kmcl_platform.config.store import open_store
from kmcl_platform.tracking.runs.leaderboard import read_leaderboard
from tests.support.command_line import kmcl_process

SEARCH = """
name: {name}
base:
  data: {{source: {source}, image_size: 32, batch_size: 64}}
  model: {{backbone: test_byobnet}}
  optim: {{lr: 5e-3}}
  num_epochs: 1
baselines: []
space:
  optim.lr: {{kind: loguniform, low: 1e-3, high: 1e-2}}
budget: {{trials: {trials}}}
scheduler: {{kind: none}}
sampler: {{kind: random, seed: 3}}
"""


def search(root: Path, name: str, source: Path, trials: int) -> str:
    """Run it in a process of its own, and return the last line. MLflow keeps a database open that it has used."""
    file = root.parent / f"{name}.yaml"
    file.write_text(SEARCH.format(name=name, source=source, trials=trials))
    answer = kmcl_process("search", file, "--inline", store=root)
    assert answer.exit_code in (0, 2), answer.stderr
    return answer.output.splitlines()[-1]


@pytest.mark.story
def test_a_search_without_its_record_does_not_go_on(tmp_path: Path, small_manifest: Path) -> None:
    root = tmp_path / "store"
    search(root, "one", small_manifest, 1)
    database, kept = root / "mlflow.db", tmp_path / "kept.db"
    database.rename(kept)
    refused = f"kmcl: {root}: 1 trial of search 'one' ended, and MLflow has no record of it; valid: "
    assert search(root, "one", small_manifest, 2).startswith(refused)
    assert not database.exists()
    # Also when another search has made a new database.
    search(root, "two", small_manifest, 1)
    assert search(root, "one", small_manifest, 2).startswith(refused)
    # With the database back, the search goes on with all that was in it.
    kept.rename(database)
    search(root, "one", small_manifest, 2)
    assert [row.epochs for row in read_leaderboard(open_store(root), "one").rows] == [1, 1]


@pytest.mark.story
def test_a_search_without_its_study_does_not_begin_again(tmp_path: Path, small_manifest: Path) -> None:
    root = tmp_path / "store"
    search(root, "one", small_manifest, 1)
    database, older, kept = root / "optuna.db", tmp_path / "older.db", tmp_path / "kept.db"
    shutil.copy(database, older)
    search(root, "one", small_manifest, 2)
    record = read_leaderboard(open_store(root), "one").rows
    database.rename(kept)
    # With checkpoints they are refused; a user who moves them away as that message says meets this one.
    shutil.move(root / "checkpoints", tmp_path / "checkpoints")
    line = search(root, "one", small_manifest, 2)
    assert "no study of search 'one', of which MLflow has 2 trials; valid: the study database of that time" in line
    # Nothing was made that would let the next start go on.
    assert search(root, "one", small_manifest, 2) == line
    # An older copy does not have the second trial.
    shutil.copy(older, database)
    assert "search 'one' has no trial 1, which MLflow has; valid: " in search(root, "one", small_manifest, 2)
    assert read_leaderboard(open_store(root), "one").rows == record
    shutil.copy(kept, database)
    shutil.move(tmp_path / "checkpoints", root / "checkpoints")
    search(root, "one", small_manifest, 3)
    assert [row.epochs for row in read_leaderboard(open_store(root), "one").rows] == [1, 1, 1]
