"""Promotion of an ensemble of trials, and of a trial that the user names."""

from pathlib import Path

import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest

from kmcl_platform.config.search_file_reader import parse_search_file
from kmcl_platform.config.store import Store, open_store
from kmcl_platform.data.manifest.parquet import read_manifest
from kmcl_platform.data.scores_file import VALIDATION_SCORES, read_scores
from kmcl_platform.registry.model.decision_rule import to_logits
from kmcl_platform.registry.model.schema import IMAGE_COLUMN, RAW_SCORES
from kmcl_platform.tracking.database import as_default, connect
from kmcl_platform.tracking.runs.leaderboard import read_leaderboard
from kmcl_platform.tracking.runs.search_run import SearchRuns
from kmcl_platform.training.checkpoints.checkpoint_folder import find_checkpoint
from tests.registry.promotion.story import SEARCH, promote, train

pytestmark = [pytest.mark.story, pytest.mark.takes(40)]


@pytest.fixture
def store(prepared_store: Path, small_manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Three trials with checkpoints; the best one is trial 1, the next one trial 2. Trial 2 has other pictures' sizes."""
    monkeypatch.chdir(tmp_path)
    store = open_store(prepared_store)
    content = SEARCH.format(source=small_manifest).encode()
    file = parse_search_file(content, "small.yaml")
    runs = SearchRuns.open(store, file, content, "small.yaml")
    train(store, file, runs, small_manifest, number=0, values={"optim.lr": 2e-2}, claimed=0.5)
    train(store, file, runs, small_manifest, number=1, values={"optim.lr": 1e-2, "seed": 1}, claimed=0.7)
    train(store, file, runs, small_manifest, number=2, values={"data.image_size": 40}, claimed=0.6)
    return store


def logits(store: Store, trial: int) -> np.ndarray:
    checkpoint = find_checkpoint(store.trial_checkpoints("small", trial))
    assert checkpoint is not None
    return to_logits(read_scores(checkpoint / VALIDATION_SCORES).scores_NK)


def test_an_ensemble_is_one_model_with_a_run_of_its_own(store: Store, small_manifest: Path) -> None:
    answer = promote(store, "--ensemble", "2", new_process=True)
    assert answer.exit_code == 0, answer.output
    # Not trial 2, which takes pictures of another size.
    assert "  ensemble     trials 1, 0 of search small (2 epochs)" in answer.output
    assert "gate passed: reload parity " in answer.output

    client = connect(store)
    version = client.get_model_version_by_alias("small", "champion")
    assert version.tags["kmcl.number"] == "1-0"
    assert "an ensemble, the mean of the logits of trials 1, 0, of search `small`" in version.description
    assert "**Trial 1**" in version.description and "**Trial 0**" in version.description
    run = client.get_run(version.run_id)
    assert run.info.run_name == "ensemble-1-0"
    assert run.info.status == "FINISHED"
    assert {"val/mAP", "test/mAP"} <= run.data.metrics.keys()
    assert len(read_leaderboard(store, "small").rows) == 3, "the ensemble is no trial"

    manifest = read_manifest(small_manifest)
    pictures = [manifest.encoded_image("val", row) for row in range(8)]
    with as_default(client):
        model = mlflow.pyfunc.load_model("models:/small@champion")
    table = model.predict(pd.DataFrame({IMAGE_COLUMN: pictures}), params={RAW_SCORES: True})
    found_NK = np.stack([table[f"score: {name}"] for name in manifest.class_names], axis=1)
    expected_NK = (logits(store, 0)[:8] + logits(store, 1)[:8]) / 2
    assert to_logits(found_NK) == pytest.approx(expected_NK, abs=1e-4)

    again = promote(store, "--ensemble", "2")
    assert again.exit_code == 0
    assert "already the champion" in again.output
    # A single trial is compared with the ensemble, whose test scores are kept: only one more model opens the split.
    single = promote(store)
    assert "gate FAILED: mAP against the champion" in single.output or "promoted:" in single.output
    assert "opened for 2 models" in single.output


def test_a_named_trial_is_promoted(store: Store) -> None:
    answer = promote(store, "--trial", "2")
    assert answer.exit_code == 0, answer.output
    assert "  trial        2 of search small" in answer.output
    assert connect(store).get_model_version_by_alias("small", "champion").tags["kmcl.number"] == "2"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--ensemble", "3"], "ensemble: got 3; valid: 2, the trials of search 'small' of full length"),
        (["--trial", "7"], "trial: got 7; valid: a trial of search 'small' that ran all 2 epochs and whose checkpoint"),
        (
            ["--trial", "1", "--ensemble", "2"],
            "trial, ensemble, prefer: got more than one of them; valid: one of the three",
        ),
        (["--ensemble", "1"], "--ensemble"),
        (["--prefer", ""], "prefer: got ''; valid: nothing: the search has one objective"),
        (["--prefer", "latency_ms<5"], "prefer: got 'latency_ms<5'; valid: nothing: the search has one objective"),
    ],
)
def test_trials_that_are_not_there_are_refused_before_the_test_split_is_opened(
    options: list[str], words: str, store: Store
) -> None:
    answer = promote(store, *options)
    assert answer.exit_code == 2
    assert words in answer.output
    client = connect(store)
    experiment = client.get_experiment_by_name("small")
    assert experiment is not None
    assert "kmcl.test_opened" not in str([run.data.tags for run in client.search_runs([experiment.experiment_id])])
    assert not client.search_registered_models()
