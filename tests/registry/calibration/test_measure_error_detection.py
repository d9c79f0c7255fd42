"""The measurement of wrong decisions, compared with plain forms of it."""

import json

import numpy as np
import pytest
from scipy.stats import entropy as scipy_entropy
from sklearn.metrics import roc_auc_score

from kmcl_platform.registry.calibration import measure_error_detection
from kmcl_platform.registry.calibration.measure_error_detection import measure_detection_area
from kmcl_platform.registry.model.error_detection import (
    DetectionArea,
    ErrorDetection,
    binary_entropy,
    read_error_detection,
)


def draw(seed: int, strength: float, images: int = 80) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values with ties, which decisions are wrong, and which are known."""
    rng = np.random.default_rng(seed)
    wrong_NK = rng.random((images, 5)) < 0.2
    values_NK = np.round(rng.random((images, 5)) + strength * wrong_NK, 1)
    return values_NK, wrong_NK, rng.random((images, 5)) < 0.9


def share_of_pairs(values_M: np.ndarray, wrong_M: np.ndarray) -> float:
    """The area by its definition: pairs of a wrong and a right decision in which the wrong one is higher."""
    pairs = values_M[wrong_M][:, None] - values_M[~wrong_M]
    return float(((pairs > 0) + (pairs == 0) / 2).mean())


def measure(values: np.ndarray, wrong: np.ndarray, known: np.ndarray, resamples: int = 1000) -> DetectionArea:
    found = measure_detection_area(values, wrong, known, resamples=resamples, confidence=0.9)
    assert found is not None
    return found


@pytest.mark.parametrize("seed", range(3))
def test_the_area_is_that_of_scikit_learn_and_the_interval_that_of_a_plain_bootstrap(seed: int) -> None:
    values_NK, wrong_NK, known_NK = draw(seed, strength=0.3)
    found = measure(values_NK, wrong_NK, known_NK)
    assert found.auroc == pytest.approx(roc_auc_score(wrong_NK[known_NK], values_NK[known_NK]), abs=1e-12)
    rng = np.random.default_rng(100 + seed)
    plain = []
    for _ in range(600):
        rows = rng.integers(0, 80, 80)
        known = known_NK[rows]
        plain.append(share_of_pairs(values_NK[rows][known], wrong_NK[rows][known]))
    low, high = np.quantile(plain, [0.05, 0.95])
    assert (found.low, found.high) == (
        pytest.approx(low, abs=0.15 * (high - low)),
        pytest.approx(high, abs=0.15 * (high - low)),
    )


def test_one_draw_is_exact() -> None:
    values_NK, wrong_NK, known_NK = draw(0, strength=0.3)
    found = measure(values_NK, wrong_NK, known_NK, resamples=1)
    counts = np.random.Generator(np.random.PCG64(0)).multinomial(80, np.full(80, 1 / 80))
    rows = np.repeat(np.arange(80), counts)
    known = known_NK[rows]
    expected = roc_auc_score(wrong_NK[rows][known], values_NK[rows][known])
    assert (found.low, found.high) == (pytest.approx(expected, abs=1e-12),) * 2


def test_many_values_share_bins_with_a_small_error(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    wrong_NK = rng.random((300, 4)) < 0.3
    values_NK = rng.random((300, 4)) + 0.2 * wrong_NK
    exact = measure(values_NK, wrong_NK, np.ones_like(wrong_NK))
    monkeypatch.setattr(measure_error_detection, "_VALUES", 50)
    shared = measure(values_NK, wrong_NK, np.ones_like(wrong_NK))
    assert shared.auroc == exact.auroc
    assert shared != exact
    assert (shared.low, shared.high) == (pytest.approx(exact.low, abs=1 / 50), pytest.approx(exact.high, abs=1 / 50))


@pytest.mark.parametrize(("strength", "separates"), [(0.4, True), (0.0, False), (-0.4, False)])
def test_only_an_interval_above_chance_separates(strength: float, separates: bool) -> None:
    found = measure(*draw(1, strength, images=300))
    assert found.separates is separates
    assert found.low <= found.auroc <= found.high
    assert (found.high < 0.5) is (strength < 0)
    assert not DetectionArea(0.9, float("nan"), float("nan")).separates
    assert not DetectionArea(0.9, 0.5, 0.95).separates


@pytest.mark.parametrize("wrong", [False, True])
def test_decisions_that_are_all_right_or_all_wrong_have_no_area(wrong: bool) -> None:
    values_NK, _, known_NK = draw(0, strength=0)
    same_NK = np.full(values_NK.shape, wrong)
    assert measure_detection_area(values_NK, same_NK, known_NK, resamples=10, confidence=0.9) is None
    # Unknown labels change nothing.
    same_NK[~known_NK] = not wrong
    assert measure_detection_area(values_NK, same_NK, known_NK, resamples=10, confidence=0.9) is None


def test_entropy_is_that_of_scipy_in_bits_from_0_to_1() -> None:
    scores_NK = np.array([[0.0, 1.0, 0.5], [1e-300, 0.1, 1 - 2.0**-53]])
    expected = scipy_entropy(np.stack([scores_NK, 1 - scores_NK]), base=2)
    found = binary_entropy(scores_NK)
    assert found == pytest.approx(expected, abs=1e-12)
    assert found[0].tolist() == [0.0, 0.0, 1.0]
    assert not np.signbit(found).any()
    assert binary_entropy(np.float32([[0.25]])).dtype == np.float64


def test_a_measurement_is_read_as_it_was_written() -> None:
    area = DetectionArea(0.7, 0.6, 0.8)
    for uncertainty in (area, None, DetectionArea(0.7, 0.5, 0.8)):
        detection = ErrorDetection(10, 30, 4, 0.95, area, uncertainty)
        assert read_error_detection(json.loads(json.dumps(detection.to_document()))) == detection
        assert detection.shows_uncertainty is (uncertainty == area)
    assert read_error_detection(None) is None
