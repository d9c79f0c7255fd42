"""Promotion of a trial on a user's own features: the model takes features, says so, and takes no pictures."""

import json
import shutil
import sys
from pathlib import Path

import mlflow.artifacts
import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest

from kmcl_platform.config.search_file_reader import parse_search_file
from kmcl_platform.config.store import Store, open_store
from kmcl_platform.data.loading.own_features import rows_of_split
from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.data.manifest.parquet import read_manifest
from kmcl_platform.data.scores_file import VALIDATION_SCORES, read_scores
from kmcl_platform.registry.model.schema import RAW_SCORES
from kmcl_platform.tracking.database import as_default, connect
from kmcl_platform.tracking.runs.search_run import SearchRuns
from kmcl_platform.training.checkpoints.checkpoint_folder import find_checkpoint
from tests.registry.package.test_serving import post, serving
from tests.registry.promotion.story import promote, train
from tests.support.command_line import kmcl

pytestmark = [pytest.mark.story, pytest.mark.takes(40)]

SEARCH = """
name: small
base:
  data: {{source: {source}, batch_size: 32, features: own.npy}}
  model: {{backbone_mode: frozen, projection_width: 16}}
  optim: {{lr: 1e-2, ema_decay: 0.9}}
  num_epochs: 2
space:
  optim.lr: {{kind: loguniform, low: 1e-8, high: 0.1}}
budget: {{trials: 1}}
"""


@pytest.fixture
def manifest(small_manifest: Path) -> Manifest:
    return read_manifest(small_manifest)


@pytest.fixture
def own_ND(manifest: Manifest, tmp_path: Path) -> np.ndarray:
    features_ND = np.random.default_rng(0).normal(size=(manifest.table.num_rows, 6)).astype(np.float32)
    np.save(tmp_path / "own.npy", features_ND)
    return features_ND


@pytest.fixture
def trained(
    initialised_database: Path,
    small_manifest: Path,
    own_ND: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> tuple[Store, SearchRuns]:
    """A store whose only trial is on own features, and the search's record."""
    monkeypatch.chdir(tmp_path)
    store = open_store(tmp_path / "store")
    store.root.mkdir()
    shutil.copy(initialised_database, store.root / "mlflow.db")
    content = SEARCH.format(source=small_manifest).encode()
    file = parse_search_file(content, "small.yaml")
    runs = SearchRuns.open(store, file, content, "small.yaml")
    train(store, file, runs, small_manifest, number=0, values={}, claimed=0.5)
    return store, runs


def test_the_model_takes_features_and_says_so(
    trained: tuple[Store, SearchRuns], manifest: Manifest, own_ND: np.ndarray, tmp_path: Path
) -> None:
    store, _ = trained
    answer = promote(store, new_process=True)
    assert answer.exit_code == 0, answer.output
    assert "gate passed: reload parity " in answer.output

    client = connect(store)
    card = client.get_model_version("small", "1").description
    assert "classifier of features" in card and "takes features (embeddings)" in card and "kmcl predict" not in card
    with as_default(client):
        package = Path(mlflow.artifacts.download_artifacts("models:/small@champion"))
        model = mlflow.pyfunc.load_model(str(package))
    rows_N = rows_of_split(manifest, "val")[:8]
    table = model.predict(pd.DataFrame({"features": list(own_ND[rows_N])}), params={RAW_SCORES: True})
    checkpoint = find_checkpoint(store.trial_checkpoints("small", 0))
    assert checkpoint is not None
    expected_NK = read_scores(checkpoint / VALIDATION_SCORES).scores_NK[:8]
    names = [f"score: {name}" for name in manifest.class_names]
    assert table[names].to_numpy() == pytest.approx(expected_NK, abs=1e-5)
    with pytest.raises(Exception, match="row 0: got shape .5,.; valid: 6 features, because the model takes no images"):
        model.predict(pd.DataFrame({"features": list(own_ND[rows_N, :5])}))

    with serving(Path(sys.executable), package, tmp_path) as address:

        def ask(column: str, values: list[object]) -> tuple[int, str]:
            rows = {"columns": [column], "data": [[value] for value in values]}
            return post(address, json.dumps({"dataframe_split": rows, "params": {RAW_SCORES: True}}))

        status, text = ask("features", own_ND[rows_N].tolist())
        assert status == 200, text
        served_NK = [[row[name] for name in names] for row in json.loads(text)["predictions"]]
        assert served_NK == pytest.approx(expected_NK, abs=1e-5)
        status, text = ask("features", [[1.0, None, 2.0, 3.0, 4.0, 5.0]])
        assert status == 400 and "row 0: column 'features': got [1.0, None," in text
        status, text = ask("image", ["aGVsbG8="])
        assert status == 400 and "features" in text

    (tmp_path / "picture.png").write_bytes(manifest.encoded_image("val", 0))
    refused = [("predict", "picture.png"), ("predict", "picture.png", "--out", "scores.parquet")]
    for command, *options in [*refused, ("export", "model.onnx")]:
        answer = kmcl(command, "models:/small@champion", *options, store=store.root)
        assert answer.exit_code == 2
        assert answer.output.startswith(
            "kmcl: models:/small/1: takes 6 features (embeddings) and no images; valid: a table"
        )
        assert answer.output.count("\n") == 1
    assert not list(tmp_path.glob("scores*")) and not list(tmp_path.glob("model.onnx*"))


def test_a_replaced_file_ends_the_promotion_before_the_test_split_is_opened(
    trained: tuple[Store, SearchRuns], own_ND: np.ndarray, tmp_path: Path
) -> None:
    store, runs = trained
    np.save(tmp_path / "own.npy", -own_ND)
    answer = promote(store)
    assert answer.exit_code == 2
    assert "data.features: got 'own.npy' with content hash " in answer.output
    assert "the features that the trial was trained on (restore that file" in answer.output
    assert answer.output.count("\n") == 1
    (tmp_path / "own.npy").unlink()
    answer = promote(store)
    assert answer.exit_code == 2
    assert f"data.features: {tmp_path / 'own.npy'}: cannot be read (" in answer.output
    assert answer.output.count("\n") == 1
    assert "kmcl.test_opened" not in str(connect(store).get_run(runs.parent_id).data.tags)
