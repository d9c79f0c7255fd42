"""A model in use: scores and uncertainties from the weights, and models of older descriptions."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy.stats import entropy as scipy_entropy

from kmcl_platform.config.trial_config import Scalar, TrialConfig
from kmcl_platform.data.loading.decode import decode_pixels
from kmcl_platform.data.loading.transforms import EvalTransform
from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.data.manifest.parquet import read_manifest
from kmcl_platform.errors import RegistryError
from kmcl_platform.method.kernels.uncertainty import label_uncertainty
from kmcl_platform.registry.model.decision_rule import DecisionRule
from kmcl_platform.registry.model.error_detection import DetectionArea, ErrorDetection
from kmcl_platform.registry.model.model_folder import read_predictor, write_model, write_rule
from kmcl_platform.registry.model.prediction_table import column_names
from kmcl_platform.registry.model.predictor import Predictor, trains_kernels
from kmcl_platform.registry.model.schema import DESCRIPTION
from kmcl_platform.training.build import build_model
from kmcl_platform.training.workers.random_state import seed_everything

CONFIG = TrialConfig().with_values({"data.image_size": 32, "model.kernels_per_class": 2})
CLASSES = [str(digit) for digit in range(10)]
OBJECTIVES = ["kmcl", "bce"]


def write(folder: Path, objective: str) -> Path:
    """A model before training; its scores are near 0.5, some above and some below."""
    seed_everything(0)
    weights = folder / "weights.safetensors"
    save_file(build_model(CONFIG, len(CLASSES)).state_dict(), weights)
    write_model(folder / "model", weights, CONFIG.with_values({"loss.objective": objective}), CLASSES)
    return folder / "model"


def read(folder: Path, objective: str) -> Predictor:
    return read_predictor(write(folder, objective), torch.device("cpu"))


@pytest.fixture(scope="module")
def manifest(small_manifest: Path) -> Manifest:
    return read_manifest(small_manifest)


@pytest.mark.parametrize(
    ("values", "trained"),
    [
        ({}, True),
        ({"loss.reconstruction_weight": 0}, True),
        ({"loss.contrastive_weight": 0}, True),
        ({"loss.reconstruction_weight": 0, "loss.contrastive_weight": 0}, False),
        ({"loss.objective": "asymmetric"}, False),
        ({"loss.objective": "bce"}, False),
    ],
)
def test_some_objectives_train_the_kernels(values: dict[str, Scalar], trained: bool) -> None:
    assert trains_kernels(TrialConfig().with_values(values).loss) is trained


def test_a_model_is_read_without_its_pretrained_weights(tmp_path: Path) -> None:
    folder = write(tmp_path, "kmcl")
    config = CONFIG.with_values({"model.pretrained": True, "model.pretrained_file": str(tmp_path / "gone.pth")})
    document = json.loads((folder / DESCRIPTION).read_text()) | {"config": config.model_dump()}
    (folder / DESCRIPTION).write_text(json.dumps(document))
    assert read_predictor(folder, torch.device("cpu")).config == config


def test_a_model_without_a_rule_and_a_measurement_is_read(tmp_path: Path) -> None:
    folder = write(tmp_path, "kmcl")
    document = json.loads((folder / DESCRIPTION).read_text())
    assert document["decision"]["thresholds"] == [0.5] * 10
    del document["decision"], document["error_detection"]
    (folder / DESCRIPTION).write_text(json.dumps(document))
    rule = read_predictor(folder, torch.device("cpu")).rule
    assert (rule.temperature, rule.thresholds) == (1.0, (0.5,) * 10)
    scores_NK = np.array([[0.5, 0.500001]])
    assert rule.calibrate(scores_NK).tolist() == scores_NK.tolist()
    assert (scores_NK > np.array(rule.thresholds)[:2]).tolist() == [[False, True]]
    # It was not measured whether its uncertainty finds wrong decisions, so predictions do not show it.
    assert not read_predictor(folder, torch.device("cpu")).shows_uncertainty


def test_a_rule_that_replaces_another_is_read(tmp_path: Path) -> None:
    folder = write(tmp_path, "kmcl")
    rule = DecisionRule(1.5, (0.25,) * 10, "recall", 0.9)
    write_rule(folder, rule)
    found = read_predictor(folder, torch.device("cpu"))
    assert (found.rule, found.class_names) == (rule, tuple(CLASSES))
    write_rule(folder, DecisionRule(1.5, (0.25,) * 9))
    with pytest.raises(RegistryError, match=r"not a model of this platform \(decision.thresholds: got 9; valid: 10"):
        read_predictor(folder, torch.device("cpu"))


def test_a_prediction_has_the_scores_of_the_network_and_the_uncertainty_of_its_kernels(
    manifest: Manifest, tmp_path: Path
) -> None:
    predictor = read(tmp_path, "kmcl")
    images = [manifest.encoded_image("test", row) for row in range(3)]
    prediction = predictor.predict(images)
    transform = EvalTransform(image_size=32)
    with torch.no_grad():
        _, mixture = predictor.model(transform([decode_pixels(data) for data in images]))
    assert prediction.scores_NK == pytest.approx(mixture.logits_BK.sigmoid().numpy())
    assert prediction.uncertainties_NK == pytest.approx(label_uncertainty(mixture).numpy())


def test_a_model_with_untrained_kernels_gives_scores_only(manifest: Manifest, tmp_path: Path) -> None:
    predictor = read(tmp_path, "bce")
    images = [manifest.encoded_image("test", 0)]
    assert predictor.predict(images).uncertainties_NK is None


AREA = DetectionArea(0.7, 0.6, 0.8)


@pytest.mark.parametrize(
    ("detection", "prefixes"),
    [
        (None, ["score", "entropy", "decision"]),
        (ErrorDetection(9, 90, 9, 0.95, AREA, None), ["score", "entropy", "decision"]),
        (ErrorDetection(9, 90, 9, 0.95, AREA, DetectionArea(0.6, 0.5, 0.7)), ["score", "entropy", "decision"]),
        (ErrorDetection(9, 90, 9, 0.95, AREA, AREA), ["score", "entropy", "uncertainty", "decision"]),
    ],
)
def test_only_an_uncertainty_that_finds_wrong_decisions_is_shown(
    detection: ErrorDetection | None, prefixes: list[str], manifest: Manifest, tmp_path: Path
) -> None:
    folder = write(tmp_path, "kmcl")
    write_rule(folder, DecisionRule(2.0, (0.5,) * 10, shift=0.5), detection)
    predictor = read_predictor(folder, torch.device("cpu"))
    assert predictor.error_detection == detection
    prediction = predictor.predict([manifest.encoded_image("test", row) for row in range(3)])
    columns = predictor.to_columns(prediction)
    assert list(columns) == ["labels", *(f"{prefix}: {name}" for prefix in prefixes for name in CLASSES)]
    numbers, decisions = column_names(CLASSES, shows_uncertainty=predictor.shows_uncertainty)
    assert [*numbers, *decisions] == list(columns)[1:]
    scores_NK = np.stack([columns[f"score: {name}"] for name in CLASSES], axis=1)
    entropy_NK = np.stack([columns[f"entropy: {name}"] for name in CLASSES], axis=1)
    assert entropy_NK == pytest.approx(scipy_entropy(np.stack([scores_NK, 1 - scores_NK]), base=2))
    # The entropy is always that of calibrated scores, also if the columns have raw scores.
    raw = predictor.to_columns(prediction, raw_scores=True)
    assert raw["score: 3"].tolist() == prediction.scores_NK[:, 3].astype(np.float64).tolist()
    assert all((raw[name] == values).all() for name, values in columns.items() if name.startswith("entropy"))


def test_no_images_give_no_rows(tmp_path: Path) -> None:
    scores, uncertainties = read(tmp_path, "kmcl").predict([])
    assert uncertainties is not None
    assert scores.shape == uncertainties.shape == (0, len(CLASSES))
