"""The statistics of a promotion, compared with plain forms of them."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from kmcl_platform.registry.calibration.error import expected_calibration_error
from kmcl_platform.registry.promotion.bootstrap import (
    _average_precision,
    _rank,
    bootstrap_difference,
)


def draw(seed: int, num: int = 60, classes: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    targets_NK = (rng.random((num, classes)) < 0.25).astype(np.int8)
    targets_NK[rng.random((num, classes)) < 0.1] = -1
    # Rounded, so that there are ties.
    good_NK = np.round(rng.random((num, classes)) * 0.6 + 0.4 * (targets_NK == 1), 1).astype(np.float32)
    poor_NK = np.round(rng.random((num, classes)), 1).astype(np.float32)
    return good_NK, poor_NK, targets_NK


@pytest.mark.parametrize("seed", range(5))
def test_average_precision_of_repeated_images(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores_NK, _, targets_NK = draw(seed)
    known_N = targets_NK[:, 0] >= 0
    counts_NR = rng.multinomial(60, np.full(60, 1 / 60), size=20).T.astype(np.float32)
    expected = [
        average_precision_score(
            np.repeat(targets_NK[known_N, 0] == 1, counts), np.repeat(scores_NK[known_N, 0], counts)
        )
        for counts in counts_NR[known_N].T.astype(int)
    ]
    ranked = _rank(scores_NK[:, 0], targets_NK[:, 0])
    assert ranked is not None
    assert _average_precision(ranked, counts_NR) == pytest.approx(expected, abs=1e-12)


def test_a_draw_without_a_positive_has_no_average_precision() -> None:
    ranked = _rank(np.array([0.9, 0.1]), np.array([1, 0]))
    assert ranked is not None
    found = _average_precision(ranked, np.array([[0.0, 1.0], [2.0, 1.0]], dtype=np.float32))
    assert np.isnan(found[0]) and found[1] == 1
    assert _rank(np.array([0.9, 0.1]), np.array([-1, 0])) is None


def plain_average_precision(positive_N: np.ndarray, scores_N: np.ndarray) -> float:
    """The mean over positive images of the precision at their own score. scikit-learn needs a millisecond for each call."""
    at_least_NN = scores_N[None, :] >= scores_N[positive_N][:, None]
    return float((at_least_NN[:, positive_N].sum(1) / at_least_NN.sum(1)).mean())


def test_the_plain_average_precision_is_that_of_scikit_learn() -> None:
    scores_NK, _, targets_NK = draw(9)
    for scores_N, positive_N in zip(scores_NK.T, targets_NK.T == 1, strict=True):
        assert plain_average_precision(positive_N, scores_N) == pytest.approx(
            average_precision_score(positive_N, scores_N), abs=1e-12
        )


def plain_map(scores_NK: np.ndarray, targets_NK: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    values = np.full(scores_NK.shape[1], np.nan)
    for k in range(scores_NK.shape[1]):
        own = rows[targets_NK[rows, k] >= 0]
        if (targets_NK[own, k] == 1).any():
            values[k] = plain_average_precision(targets_NK[own, k] == 1, scores_NK[own, k])
    return values, ~np.isnan(values)


def test_the_interval_is_that_of_a_plain_bootstrap() -> None:
    good_NK, poor_NK, targets_NK = draw(0)
    found = bootstrap_difference(good_NK, poor_NK, targets_NK, resamples=2000, confidence=0.9, seed=1)
    everything = np.arange(60)
    exact = np.nanmean(plain_map(good_NK, targets_NK, everything)[0]) - np.nanmean(
        plain_map(poor_NK, targets_NK, everything)[0]
    )
    assert found.value == pytest.approx(exact, abs=1e-12)
    rng = np.random.default_rng(7)
    plain = []
    for _ in range(600):
        rows = rng.integers(0, 60, 60)
        plain.append(np.nanmean(plain_map(good_NK, targets_NK, rows)[0] - plain_map(poor_NK, targets_NK, rows)[0]))
    low, high = np.quantile(plain, [0.05, 0.95])
    spread = high - low
    assert found.low == pytest.approx(low, abs=0.12 * spread)
    assert found.high == pytest.approx(high, abs=0.12 * spread)


def test_a_model_does_not_differ_from_itself() -> None:
    good_NK, _, targets_NK = draw(3)
    found = bootstrap_difference(good_NK, good_NK, targets_NK, resamples=100, confidence=0.95)
    assert (found.value, found.low, found.high) == (0, 0, 0)


def test_a_small_gain_on_every_positive_image_is_found() -> None:
    rng = np.random.default_rng(0)
    targets_NK = (rng.random((300, 3)) < 0.3).astype(np.int8)
    champion_NK = rng.random((300, 3)).astype(np.float32)
    candidate_NK = champion_NK + np.float32(0.08) * targets_NK
    found = bootstrap_difference(candidate_NK, champion_NK, targets_NK, resamples=500, confidence=0.95)
    assert 0 < found.low < found.value < found.high < 0.2


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    good_NK, poor_NK, targets_NK = draw(0)
    whole = bootstrap_difference(good_NK, poor_NK, targets_NK, resamples=100, confidence=0.95)
    monkeypatch.setattr("kmcl_platform.registry.promotion.bootstrap._CHUNK", 7)
    assert bootstrap_difference(good_NK, poor_NK, targets_NK, resamples=100, confidence=0.95) == whole


def test_the_calibration_error_is_that_of_the_formula() -> None:
    scores_NK = np.array([[0.9, 0.9], [0.9, 0.1], [0.1, 0.1]])
    targets_NK = np.array([[1, 0], [1, 0], [-1, 1]])
    # Two of three labels at 0.9 are positive, and one of the two known labels at 0.1.
    expected = (3 * abs(0.9 - 2 / 3) + 2 * abs(0.1 - 1 / 2)) / 5
    assert expected_calibration_error(scores_NK, targets_NK) == pytest.approx(expected)
    assert expected_calibration_error(np.array([[1.0, 0.0]]), np.array([[1, 0]])) == 0
    assert expected_calibration_error(np.array([[0.5]]), np.array([[-1]])) is None
