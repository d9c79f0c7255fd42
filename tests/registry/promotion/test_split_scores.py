"""The validation scores that decisions are chosen on: those that the checkpoint kept, or scored anew."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_tensors

from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.data.manifest.parquet import read_manifest
from kmcl_platform.data.scores_file import VALIDATION_SCORES, SplitScores
from kmcl_platform.registry.model.predictor import Predictor, read_predictor, write_model
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
    save_tensors(build_model(config.model, 10).state_dict(), folder / "weights.safetensors")
    write_model(folder / "model", folder / "weights.safetensors", config, [str(k) for k in range(10)])
    return read_predictor(folder / "model", torch.device("cpu"))


def test_scores_that_were_kept_are_taken(
    manifest: Manifest, predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(split_scores, "score_images", None)
    scores_NK = np.random.default_rng(0).random((97, 10)).astype(np.float32)
    save_file({"scores_NK": scores_NK, "targets_NK": manifest.targets("val")}, tmp_path / VALIDATION_SCORES)
    found = read_or_score_validation(tmp_path, predictor, manifest)
    assert (found.scores_NK == scores_NK).all()
    assert (found.targets_NK == manifest.targets("val")).all()


@pytest.mark.parametrize("kept", ["nothing", "no safetensors", "other tensors", "another order", "fewer images"])
def test_all_else_is_scored_anew(
    kept: str, manifest: Manifest, predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores_NK, targets_NK = np.zeros((97, 10), dtype=np.float32), manifest.targets("val").copy()
    match kept:
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
    asked = []
    anew = SplitScores(scores_NK, targets_NK)
    monkeypatch.setattr(split_scores, "score_images", lambda *args: asked.append(args[2]) or anew)
    assert read_or_score_validation(tmp_path, predictor, manifest) is anew
    assert asked == ["val"]


def test_scores_anew_are_those_of_the_predictor(manifest: Manifest, predictor: Predictor) -> None:
    found = score_images(predictor, manifest, "val")
    expected_NK = predictor.predict(manifest.split("val")["bytes"].to_pylist()).scores_NK
    assert found.scores_NK == pytest.approx(expected_NK, abs=1e-6)
    assert (found.targets_NK == manifest.targets("val")).all()
