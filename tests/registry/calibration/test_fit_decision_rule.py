"""Temperature and thresholds, compared with a trial of every threshold and with a plain minimiser."""

import itertools
import time

import numpy as np
import pytest
from hypothesis import example, given, settings, strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import minimize_scalar
from sklearn.linear_model import LogisticRegression

from kmcl_platform.config.after_search import Decision
from kmcl_platform.registry.calibration.error import expected_calibration_error
from kmcl_platform.registry.calibration.fit_decision_rule import (
    TEMPERATURES,
    choose_thresholds,
    fit_rule,
    fit_shifted,
    fit_temperature,
)
from kmcl_platform.registry.model.decision_rule import DecisionRule, calibrate, default_rule, read_rule

OBJECTIVES = ["f1", "precision", "recall"]


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits))


def rates(scores_N: np.ndarray, targets_N: np.ndarray, threshold: float) -> tuple[float, float, float]:
    """F1, precision (1 where nothing is predicted) and recall of the known labels."""
    known = targets_N >= 0
    predicted, positive = scores_N[known] > threshold, targets_N[known] == 1
    hits = int((predicted & positive).sum())
    precision = hits / predicted.sum() if predicted.any() else 1.0
    return 2 * hits / (predicted.sum() + positive.sum()), precision, hits / positive.sum()


def try_every_threshold(scores_N: np.ndarray, targets_N: np.ndarray, decision: Decision) -> float:
    """The best of all thresholds that divide the known scores differently."""
    known = scores_N[targets_N >= 0]
    values = sorted({0.0 if known.min() > 0 else -1.0, *known.tolist()})
    cuts = [(low + high) / 2 for low, high in itertools.pairwise(values)]
    found = {cut: rates(scores_N, targets_N, cut) for cut in cuts}
    if decision.objective == "f1":
        best = max(one[0] for one in found.values())
        return max(cut for cut, one in found.items() if one[0] == best)
    if decision.objective == "precision":
        return min((cut for cut, one in found.items() if one[1] >= decision.floor), default=1.0)
    return max(cut for cut, one in found.items() if one[2] >= decision.floor)


SCORES = st.integers(0, 20).map(lambda number: number / 20)  # with ties, 0 and 1


@settings(max_examples=300, deadline=None)
@given(
    labels=st.lists(st.tuples(SCORES, st.sampled_from([-1, 0, 1])), min_size=1, max_size=25),
    objective=st.sampled_from(OBJECTIVES),
    floor=st.sampled_from([0.1, 0.5, 0.75, 0.9, 1.0]),
)
def test_no_other_threshold_is_better(labels: list[tuple[float, int]], objective: str, floor: float) -> None:
    scores_N, targets_N = np.array([s for s, _ in labels]), np.array([t for _, t in labels])
    decision = Decision(objective=objective, floor=floor, min_positives=1)
    (found,) = choose_thresholds(scores_N[:, None], targets_N[:, None], decision)
    if not (targets_N == 1).any():
        assert found == 0.5
        return
    assert found == pytest.approx(try_every_threshold(scores_N, targets_N, decision))
    _, precision, recall = rates(scores_N, targets_N, found)
    assert objective != "precision" or precision >= floor
    assert objective != "recall" or recall >= floor


def test_of_equal_f1_the_fewest_predictions_are_taken() -> None:
    scores_N, targets_N = np.array([0.8, 0.6, 0.4, 0.2]), np.array([1, 0, 0, 1])
    assert rates(scores_N, targets_N, 0.7)[0] == rates(scores_N, targets_N, 0.1)[0]
    (found,) = choose_thresholds(scores_N[:, None], targets_N[:, None], Decision(min_positives=1))
    assert found == pytest.approx(0.7)


def test_a_value_equal_to_the_floor_reaches_it() -> None:
    scores_N = np.linspace(0.95, 0.05, 20)
    targets_N = np.array([1] * 9 + [0] * 11)
    found = choose_thresholds(scores_N[:, None], targets_N[:, None], Decision(objective="precision", floor=0.9))
    assert rates(scores_N, targets_N, found[0])[1:] == (0.9, 1.0)


def test_a_precision_that_cannot_be_reached_predicts_nothing() -> None:
    scores_NK, targets_NK = np.array([[1.0], [0.9], [0.2]]), np.array([[0], [1], [1]])
    decision = Decision(objective="precision", floor=0.9, min_positives=1)
    assert choose_thresholds(scores_NK, targets_NK, decision).tolist() == [1.0]
    assert not DecisionRule(1.0, (1.0,)).decide(scores_NK).any()


def test_a_class_with_few_positives_keeps_one_half() -> None:
    scores_NK = np.tile(np.linspace(0.6, 0.9, 10)[:, None], 2)
    targets_NK = np.array([[1, 1]] * 4 + [[1, -1]] + [[0, 0]] * 5)
    found = choose_thresholds(scores_NK, targets_NK, Decision())
    assert found[0] != 0.5
    assert found[1] == 0.5


def test_neighbours_in_float64_are_separated() -> None:
    low = 0.7
    high = float(np.nextafter(low, 1))
    scores_NK = np.array([[high], [low]])
    found = choose_thresholds(scores_NK, np.array([[1], [0]]), Decision(min_positives=1))
    assert (scores_NK[:, 0] > found[0]).tolist() == [True, False]


def nll(scores_NK: np.ndarray, targets_NK: np.ndarray, temperature: float) -> float:
    known = targets_NK >= 0
    logits = np.log(scores_NK[known] / (1 - scores_NK[known])) / temperature
    return float(np.logaddexp(0, np.where(targets_NK[known] == 1, -logits, logits)).mean())


@pytest.mark.parametrize("true", [0.4, 1.0, 3.0])
def test_the_temperature_has_the_least_nll_and_is_that_of_the_data(true: float) -> None:
    rng = np.random.default_rng(0)
    logits_NK = rng.normal(0, 3, (4000, 5))
    targets_NK = (rng.random((4000, 5)) < sigmoid(logits_NK / true)).astype(np.int8)
    targets_NK[rng.random((4000, 5)) < 0.2] = -1
    scores_NK = sigmoid(logits_NK)
    found = fit_temperature(scores_NK, targets_NK)
    assert found == pytest.approx(true, rel=0.05)
    best = minimize_scalar(lambda t: nll(scores_NK, targets_NK, t), bounds=TEMPERATURES, method="bounded")
    assert found == pytest.approx(best.x, rel=1e-4)
    # Unknown labels change nothing.
    scores_NK[targets_NK < 0] = 1.0
    assert fit_temperature(scores_NK, targets_NK) == pytest.approx(found)


def test_a_shift_of_the_logits_is_undone() -> None:
    rng = np.random.default_rng(0)
    logits_NK = rng.normal(-2, 2, (4000, 5))
    targets_NK = (rng.random((4000, 5)) < sigmoid(logits_NK)).astype(np.int8)
    targets_NK[rng.random((4000, 5)) < 0.2] = -1
    scores_NK = sigmoid(0.5 * logits_NK + 1)
    temperature, shift = fit_shifted(scores_NK, targets_NK)
    assert (temperature, shift) == (pytest.approx(0.5, rel=0.05), pytest.approx(-2, rel=0.05))
    known = targets_NK >= 0
    plain = LogisticRegression(C=np.inf, tol=1e-8).fit((0.5 * logits_NK + 1)[known][:, None], targets_NK[known])
    assert 1 / temperature == pytest.approx(plain.coef_.item(), rel=1e-4)
    assert shift == pytest.approx(plain.intercept_.item(), rel=1e-4)
    rule, errors = {}, {}
    for calibration in ("shifted", "temperature"):
        fitted = fit_rule(scores_NK, targets_NK, Decision(calibration=calibration))
        rule[calibration], errors[calibration] = fitted.rule, fitted.error_after
        assert fitted.error_after == expected_calibration_error(fitted.rule.calibrate(scores_NK), targets_NK)
    # A temperature without a shift cannot correct this.
    assert errors["shifted"] < 0.02 < 0.2 < errors["temperature"]
    assert (rule["shifted"].shift, rule["temperature"].shift) == (pytest.approx(shift), 0)


def test_equal_labels_give_no_shift() -> None:
    scores_NK = np.array([[0.9, 0.6], [0.4, 0.1]])
    for label in (0, 1):
        targets_NK = np.full((2, 2), label)
        assert fit_shifted(scores_NK, targets_NK) == (fit_temperature(scores_NK, targets_NK), 0.0)
    assert fit_shifted(scores_NK, np.full((2, 2), -1)) == (1.0, 0.0)
    temperature, shift = fit_shifted(np.array([[1.0], [0.0]]), np.array([[1], [0]]))
    assert temperature >= 0.1
    assert np.isfinite(shift)


def test_the_temperature_stays_within_its_bounds() -> None:
    scores_NK = np.array([[1.0, 0.9], [0.0, 0.1]], dtype=np.float32)
    targets_NK = np.array([[1, 1], [0, 0]])
    assert fit_temperature(scores_NK, targets_NK) == 0.1
    assert fit_temperature(scores_NK, 1 - targets_NK) == 10
    assert fit_temperature(scores_NK, np.full((2, 2), -1)) == 1


@settings(max_examples=100, deadline=None)
# A library may have switched off subnormal numbers for this process. Hypothesis then refuses to draw them.
@given(arrays(np.float32, 12, elements=st.floats(0, 1, width=32, allow_subnormal=False)), st.floats(1, 10))
@example(np.array([1e-40, 1e-45, 0, 2e-45] * 3, dtype=np.float32), 2.0)
def test_calibration_keeps_the_order(scores_N: np.ndarray, temperature: float) -> None:
    found_N = calibrate(scores_N, temperature)
    assert ((found_N >= 0) & (found_N <= 1)).all()
    order = np.argsort(scores_N, kind="stable")
    rises = np.diff(scores_N[order]) > 0
    assert (np.diff(found_N[order])[rises] > 0).all()
    assert (calibrate(scores_N, 1.0) == scores_N).all()


def test_calibration_divides_the_logit() -> None:
    logits = np.array([-3.0, 0.0, 2.0])
    assert calibrate(sigmoid(logits), 2.0) == pytest.approx(sigmoid(logits / 2))
    assert calibrate(sigmoid(logits), 2.0, -1.0) == pytest.approx(sigmoid(logits / 2 - 1))
    assert calibrate(sigmoid(logits), 1.0, -1.0) == pytest.approx(sigmoid(logits - 1))


def test_a_fitted_rule_has_the_errors_before_and_after_calibration() -> None:
    rng = np.random.default_rng(1)
    logits_NK = rng.normal(-1, 2, (2000, 3))
    targets_NK = (rng.random((2000, 3)) < sigmoid(logits_NK)).astype(np.int8)
    scores_NK = sigmoid(4 * logits_NK).astype(np.float32)
    fitted = fit_rule(scores_NK, targets_NK, Decision(objective="precision", floor=0.8, calibration="temperature"))
    assert fitted.rule.temperature == pytest.approx(4, rel=0.1)
    assert fitted.error_before is not None and fitted.error_after is not None
    assert fitted.error_after < 0.3 * fitted.error_before
    assert (fitted.rule.objective, fitted.rule.floor) == ("precision", 0.8)
    # The thresholds are those of the scores that users see.
    decided_NK = fitted.rule.decide(fitted.rule.calibrate(scores_NK))
    expected_K = choose_thresholds(
        fitted.rule.calibrate(scores_NK),
        targets_NK,
        Decision(objective="precision", floor=0.8, calibration="temperature"),
    )
    assert fitted.rule.thresholds == pytest.approx(expected_K.tolist())
    for k in range(3):
        assert 0.8 <= targets_NK[decided_NK[:, k], k].mean() < 0.82
    plain = fit_rule(scores_NK, targets_NK, Decision(calibration="none"))
    assert (plain.rule.temperature, plain.rule.floor, plain.error_before) == (1.0, None, plain.error_after)


def test_a_rule_is_read_as_it_was_written() -> None:
    rule = DecisionRule(1.5, (0.25, 1.0), "recall", 0.9, shift=-2.0)
    assert read_rule(rule.to_document(), ["a", "b"]) == rule
    assert read_rule(None, ["a", "b"]) == default_rule(2) == DecisionRule(1.0, (0.5, 0.5))
    with pytest.raises(ValueError, match="thresholds: got 2; valid: 3, one for each class"):
        read_rule(rule.to_document(), ["a", "b", "c"])
    with pytest.raises(ValueError, match="out of range"):
        read_rule(rule.to_document() | {"temperature": 0}, ["a", "b"])


def test_the_fit_for_a_data_set_of_the_size_of_coco_takes_seconds() -> None:
    rng = np.random.default_rng(0)
    # A quarter of COCO's images in a quarter of the time; the work grows with their number.
    scores_NK = rng.random((10_000, 80)).astype(np.float32)
    targets_NK = (rng.random((10_000, 80)) < 0.05).astype(np.int8)
    started = time.process_time()
    fit_rule(scores_NK, targets_NK, Decision())
    assert time.process_time() - started < 5
