"""How `kmcl search` ends when no trial has completed."""

from pathlib import Path
from typing import Any

import pytest

from kmcl_platform.search.run import trial_training
from tests.support.command_line import kmcl

SEARCH = """
name: nothing
base:
  data: {{source: {source}, image_size: 32, batch_size: 64}}
  model: {{backbone: test_byobnet}}
  num_epochs: 1
baselines: []
space:
  optim.lr: {{kind: loguniform, low: 1e-4, high: 1e-2}}
budget: {{trials: 2}}
scheduler: {{kind: none}}
"""


def test_a_search_without_a_completed_trial_says_where_the_reasons_are(
    tmp_path: Path, prepared_store: Path, small_manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*words: Any, **others: Any) -> None:
        raise ValueError("no such shape")

    monkeypatch.setattr(trial_training, "fit", fails)
    file = tmp_path / "s.yaml"
    file.write_text(SEARCH.format(source=small_manifest))
    for _ in range(2):
        # The second one finds the search finished.
        done = kmcl("search", file, "--inline", "--store", prepared_store)
        assert done.exit_code == 4, done.output
        last = done.stdout.splitlines()[-1]
        shown = f"kmcl leaderboard nothing --store {prepared_store}"
        assert last == f"no trial of nothing has completed; the reason of each: {shown}"
        assert "kmcl promote" not in done.stdout
    shown = kmcl("leaderboard", "nothing", "--store", prepared_store).stdout
    assert "failed: trials 0, 1: ValueError: no such shape\n" in shown
