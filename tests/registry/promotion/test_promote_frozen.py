"""Promotion of a trial with a frozen backbone: one package with backbone and head, which takes pictures."""

import os
import shutil
from pathlib import Path

import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest

from kmcl_platform.config.search_file_reader import parse_search_file
from kmcl_platform.config.store import Store, open_store
from kmcl_platform.data.manifest.parquet import read_manifest
from kmcl_platform.data.scores_file import VALIDATION_SCORES, read_scores
from kmcl_platform.registry.model.schema import IMAGE_COLUMN, RAW_SCORES
from kmcl_platform.tracking.database import as_default, connect
from kmcl_platform.tracking.runs.search_run import SearchRuns
from kmcl_platform.training.checkpoints.checkpoint_folder import find_checkpoint
from tests.registry.promotion.story import promote, train
from tests.support.command_line import kmcl
from tests.training.features.frozen import write_weights

pytestmark = [pytest.mark.story, pytest.mark.takes(30)]

SEARCH = """
name: small
base:
  data: {{source: {source}, image_size: 32, batch_size: 32}}
  model: {{backbone: test_byobnet, backbone_mode: frozen, pretrained_file: {weights}, projection_width: 16}}
  optim: {{lr: 1e-2, ema_decay: 0.9}}
  num_epochs: 2
space:
  optim.lr: {{kind: loguniform, low: 1e-8, high: 0.1}}
budget: {{trials: 1}}
"""


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return write_weights(tmp_path / "weights.safetensors")


@pytest.fixture
def trained(
    prepared_store: Path, small_manifest: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Store, SearchRuns]:
    """A store whose only trial has a frozen backbone, and the search's record."""
    monkeypatch.chdir(tmp_path)
    store = open_store(prepared_store)
    content = SEARCH.format(source=small_manifest, weights=weights).encode()
    file = parse_search_file(content, "small.yaml")
    runs = SearchRuns.open(store, file, content, "small.yaml")
    train(store, file, runs, small_manifest, number=0, values={}, claimed=0.5)
    return store, runs


def test_a_promoted_frozen_model_takes_pictures(
    trained: tuple[Store, SearchRuns], weights: Path, small_manifest: Path, tmp_path: Path
) -> None:
    store, _ = trained
    # Neither the file nor the features are needed any more: the store has the weights of the backbone.
    weights.unlink()
    shutil.rmtree(store.features / "splits")
    answer = promote(store, new_process=True)
    assert answer.exit_code == 0, answer.output
    assert "gate passed: reload parity " in answer.output

    manifest = read_manifest(small_manifest)
    pictures = [manifest.encoded_image("val", row) for row in range(8)]
    client = connect(store)
    with as_default(client):
        model = mlflow.pyfunc.load_model("models:/small@champion")
    table = model.predict(pd.DataFrame({IMAGE_COLUMN: pictures}), params={RAW_SCORES: True})
    checkpoint = find_checkpoint(store.trial_checkpoints("small", 0))
    assert checkpoint is not None
    expected_NK = read_scores(checkpoint / VALIDATION_SCORES).scores_NK[:8]
    found_NK = np.stack([table[f"score: {name}"] for name in manifest.class_names], axis=1)
    assert found_NK == pytest.approx(expected_NK, abs=1e-5)

    (tmp_path / "picture.png").write_bytes(pictures[0])
    shown = kmcl("predict", "models:/small@champion", os.fspath(tmp_path / "picture.png"), store=store.root)
    assert shown.exit_code == 0, shown.output
    assert "picture.png" in shown.output


def test_a_backbone_that_is_gone_ends_the_promotion_before_the_test_split_is_opened(
    trained: tuple[Store, SearchRuns], weights: Path
) -> None:
    store, runs = trained
    shutil.rmtree(store.features)
    write_weights(weights, seed=1)
    answer = promote(store)
    assert answer.exit_code == 2
    assert "is missing, and the pretrained weights of test_byobnet are others now" in answer.output
    assert answer.output.count("\n") == 1
    assert "kmcl.test_opened" not in str(connect(store).get_run(runs.parent_id).data.tags)
