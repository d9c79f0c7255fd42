"""The validation scores that the decision rule is fitted to: those in the checkpoint, or new ones."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_tensors
from sklearn.metrics import roc_auc_score

from kmcl_platform.config.after_search import Promotion
from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.data.manifest.parquet import read_manifest
from kmcl_platform.data.scores_file import VALIDATION_SCORES, SplitScores
from kmcl_platform.registry.model.decision_rule import DecisionRule
from kmcl_platform.registry.model.model_folder import read_predictor, write_model
from kmcl_platform.registry.model.predictor import Predictor
from kmcl_platform.registry.promotion import split_scores
from kmcl_platform.registry.promotion.split_scores import read_or_score_validation, score_images
from kmcl_platform.training.build import build_model


@pytest.fixture(scope="module")
def manifest(small_manifest: Path) -> Manifest:
    return read_manifest(small_manifest)


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    folder = tmp_path_factory.mktemp("model")
    config = TrialConfig().with_values({"data.image_size": 32, "model.backbone": "test_byobnet"})
    save_tensors(build_model(config, 10).state_dict(), folder / "weights.safetensors")
    write_model(folder / "model", folder / "weights.safetensors", config, [str(k) for k in range(10)])
    return read_predictor(folder / "model", torch.device("cpu"))


def test_scores_in_the_checkpoint_are_used(
    manifest: Manifest, predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(split_scores, "score_images", None)
    scores_NK = np.random.default_rng(0).random((97, 10)).astype(np.float32)
    save_file({"scores_NK": scores_NK, "targets_NK": manifest.targets("val")}, tmp_path / VALIDATION_SCORES)
    found = read_or_score_validation(tmp_path, predictor, manifest)
    assert (found.scores_NK == scores_NK).all()
    assert (found.targets_NK == manifest.targets("val")).all()


@pytest.mark.parametrize("content", ["nothing", "no safetensors", "other tensors", "another order", "fewer images"])
def test_without_fitting_scores_in_the_checkpoint_the_split_is_scored_again(
    content: str, manifest: Manifest, predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores_NK, targets_NK = np.zeros((97, 10), dtype=np.float32), manifest.targets("val").copy()
    match content:
        case "no safetensors":
            (tmp_path / VALIDATION_SCORES).write_bytes(b"no tensors")
        case "other tensors":
            save_file({"scores": scores_NK}, tmp_path / VALIDATION_SCORES)
        case "another order":
            save_file(
                {"scores_NK": scores_NK, "targets_NK": np.ascontiguousarray(targets_NK[::-1])},
                tmp_path / VALIDATION_SCORES,
            )
        case "fewer images":
            save_file({"scores_NK": scores_NK[:5], "targets_NK": targets_NK}, tmp_path / VALIDATION_SCORES)
    scored = []
    new = SplitScores(scores_NK, targets_NK)
    monkeypatch.setattr(split_scores, "score_images", lambda *args: scored.append(args[2]) or new)
    assert read_or_score_validation(tmp_path, predictor, manifest) is new
    assert scored == ["val"]


def test_new_scores_are_those_of_the_predictor(manifest: Manifest, predictor: Predictor) -> None:
    found = score_images(predictor, manifest, "val")
    expected_NK = predictor.predict(manifest.split("val")["bytes"].to_pylist()).scores_NK
    assert found.scores_NK == pytest.approx(expected_NK, abs=1e-6)
    assert (found.targets_NK == manifest.targets("val")).all()


def test_uncertainties_are_measured_on_images_at_equal_distances(
    manifest: Manifest, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    validation = score_images(predictor, manifest, "val")
    rule = DecisionRule(1.0, (0.5,) * 10)
    monkeypatch.setattr(split_scores, "_DETECTION_IMAGES", 33)
    found = split_scores.measure_error_detection(predictor, manifest, validation, rule, Promotion(resamples=100))
    assert (found.images, found.decisions) == (33, 330)
    encoded = manifest.split("val")["bytes"].to_pylist()[::3]
    prediction = predictor.predict(encoded)
    wrong_NK = (prediction.scores_NK > 0.5) != (manifest.targets("val")[::3] == 1)
    assert found.wrong == wrong_NK.sum()
    assert found.uncertainty is not None
    expected = roc_auc_score(wrong_NK.ravel(), prediction.uncertainties_NK.ravel())
    assert found.uncertainty.auroc == pytest.approx(expected, abs=1e-3)
