"""A search whose record in MLflow was lost does not begin a new one, which would not have the epochs that were."""

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
