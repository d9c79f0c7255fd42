"""A user's whole job with real parts: a search on Ray, its result, the promotion of its best trial, and a prediction."""

import json
from pathlib import Path

import pytest

from kmcl_platform.data.manifest.parquet import read_manifest
from tests.support.command_line import kmcl, kmcl_process

pytestmark = [pytest.mark.job, pytest.mark.takes(90)]

SEARCH = """
name: job
base:
  data: {{source: {source}, image_size: 32, batch_size: 32}}
  model: {{backbone: test_byobnet}}
  optim: {{optimizer: adamw, lr: 5e-3, ema_decay: 0.9}}
  num_epochs: 2
space:
  optim.lr: {{kind: loguniform, low: 1e-3, high: 1e-2}}
baselines: []
budget: {{trials: 2}}
resources: {{workers_per_trial: 1, max_concurrent_trials: 1}}
scheduler: {{kind: none}}
sampler: {{kind: random, seed: 3}}
"""


def test_search_leaderboard_promote_predict(tmp_path: Path, small_manifest: Path, prepared_store: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(SEARCH.format(source=small_manifest))
    searched = kmcl_process("search", file, store=prepared_store)
    assert searched.exit_code == 0, searched.output
    rows = json.loads(kmcl("leaderboard", "job", "--json", store=prepared_store).stdout)["rows"]
    assert [(row["rank"], row["outcome"], row["epochs"]) for row in rows] == [(1, "completed", 2), (2, "completed", 2)]
    assert rows[0]["objective"] >= rows[1]["objective"]

    promoted = kmcl("promote", "job", store=prepared_store)
    assert promoted.exit_code == 0, promoted.output
    assert "models:/job@champion (version 1)" in promoted.stdout
    image = tmp_path / "image.png"
    image.write_bytes(read_manifest(small_manifest).encoded_image("test", 0))
    predicted = kmcl("predict", "models:/job@champion", image, "--json", store=prepared_store)
    assert predicted.exit_code == 0, predicted.output
    scores = json.loads(predicted.stdout)["scores"]
    assert sorted(scores) == [str(digit) for digit in range(10)]
    assert all(0 <= score <= 1 for score in scores.values())
