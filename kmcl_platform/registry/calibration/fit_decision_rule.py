"""Fit calibration and thresholds to validation scores, without reading or writing anything.

Legend of shapes: N images, K classes; C cuts of one class's ranking (images above a cut are predicted).
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq, minimize
from scipy.special import expit

from kmcl_platform.config.after_search import Decision
from kmcl_platform.registry.calibration.error import expected_calibration_error
from kmcl_platform.registry.model.decision_rule import DEFAULT_THRESHOLD, NEVER, DecisionRule, calibrate, to_logits

TEMPERATURES = (0.1, 10.0)
"""Bounds of a fitted temperature. Without the lower one it would be 0 if the scores separate the labels perfectly."""
_LARGEST_SHIFT = 30.0


@dataclass(frozen=True)
class FittedRule:
    """A rule, and the calibration error on validation without and with it.

    Attributes:
        rule: the fitted one.
        error_before: of the scores before calibration. None: no label is known.
        error_after: of the calibrated scores. None: no label is known.
    """

    rule: DecisionRule
    error_before: float | None
    error_after: float | None


def fit_rule(scores_NK: np.ndarray, targets_NK: np.ndarray, decision: Decision) -> FittedRule:
    """Fit the calibration, then choose thresholds of the calibrated scores.

    Args:
        scores_NK: raw scores on the validation split, in [0, 1].
        targets_NK: 1 positive, 0 negative, -1 unknown.
        decision: the objective and the kind of calibration.
    """
    temperature, shift = 1.0, 0.0
    if decision.calibration == "temperature":
        temperature = fit_temperature(scores_NK, targets_NK)
    elif decision.calibration == "shifted":
        temperature, shift = fit_shifted(scores_NK, targets_NK)
    calibrated_NK = calibrate(scores_NK, temperature, shift)
    thresholds_K = choose_thresholds(calibrated_NK, targets_NK, decision)
    floor = None if decision.objective == "f1" else decision.floor
    return FittedRule(
        DecisionRule(temperature, tuple(thresholds_K.tolist()), decision.objective, floor, shift),
        expected_calibration_error(scores_NK, targets_NK),
        expected_calibration_error(calibrated_NK, targets_NK),
    )


def fit_temperature(scores_NK: np.ndarray, targets_NK: np.ndarray) -> float:
    """The temperature T within `TEMPERATURES` that minimises the binary NLL of sigmoid(logit / T) over known labels.

    Args:
        scores_NK: in [0, 1].
        targets_NK: 1 positive, 0 negative, -1 unknown, which are left out.

    Returns:
        T, or 1 if no label is known.

    Reference: Guo et al., "On Calibration of Modern Neural Networks", 2017, section 4.2, for each label by itself.
    """
    known_NK = targets_NK >= 0
    logits, positive = to_logits(scores_NK[known_NK]), targets_NK[known_NK] == 1
    if not len(logits):
        return 1.0

    # The NLL is convex in β = 1/T, so its minimum is where its derivative is 0, or at a bound.
    # With logit x and target y: dNLL/dβ = mean((sigmoid(βx) - y) · x).
    def slope(beta: float) -> float:
        return float(((expit(beta * logits) - positive) * logits).mean())

    low, high = 1 / TEMPERATURES[1], 1 / TEMPERATURES[0]
    # If the derivative is above 0 at the lower bound, the NLL rises from there on; below 0 at the upper one, it falls
    # up to there.
    if slope(low) >= 0:
        return TEMPERATURES[1]
    if slope(high) <= 0:
        return TEMPERATURES[0]
    # Now the derivative changes its sign between the bounds, as Brent's method needs.
    return float(1 / brentq(slope, low, high, xtol=1e-9))


def fit_shifted(scores_NK: np.ndarray, targets_NK: np.ndarray) -> tuple[float, float]:
    """The temperature T within `TEMPERATURES` and the shift b that minimise the NLL of sigmoid(logit / T + b).

    Args:
        scores_NK: in [0, 1].
        targets_NK: 1 positive, 0 negative, -1 unknown, which are left out.

    Returns:
        T and b. Without a known label they are 1 and 0. If all known labels are equal, b is 0: the best is
        infinite.

    Reference: Platt, "Probabilistic Outputs for Support Vector Machines", 1999, with the plain targets of 0 and 1.
    """
    known_NK = targets_NK >= 0
    logits, positive = to_logits(scores_NK[known_NK]), targets_NK[known_NK] == 1
    if not positive.any() or positive.all():
        return fit_temperature(scores_NK, targets_NK), 0.0
    signed = np.where(positive, -1.0, 1.0)

    def loss(point: np.ndarray) -> tuple[float, np.ndarray]:
        """The NLL, convex in β = 1/T and b, and its gradient."""
        # With z = βx + b and target y: dNLL/dβ = mean((sigmoid(z) - y) · x), dNLL/db = mean(sigmoid(z) - y).
        found = point[0] * logits + point[1]
        residual = expit(found) - positive
        # -log sigmoid(z) = log(1 + exp(-z)) for a positive label, and log(1 + exp(z)) for a negative one. logaddexp
        # does not overflow.
        return float(np.logaddexp(0, signed * found).mean()), np.array([(residual * logits).mean(), residual.mean()])

    bounds = [(1 / TEMPERATURES[1], 1 / TEMPERATURES[0]), (-_LARGEST_SHIFT, _LARGEST_SHIFT)]
    options = {"ftol": 1e-12, "gtol": 1e-8}
    best = minimize(loss, np.array([1.0, 0.0]), jac=True, bounds=bounds, method="L-BFGS-B", options=options)
    return float(1 / best.x[0]), float(best.x[1])


def choose_thresholds(scores_NK: np.ndarray, targets_NK: np.ndarray, decision: Decision) -> np.ndarray:
    """A threshold for each class: thresholds_K, float64; a label is predicted if its score is above the threshold.

    A threshold is midway between two neighbouring scores of known labels, or between the lowest score and 0. If several
    thresholds have the best `f1`, the highest one is taken. If no threshold reaches the precision, the threshold is 1:
    the class is never predicted. A class with too few known positive images gets 0.5.

    Args:
        scores_NK: calibrated, in [0, 1].
        targets_NK: 1 positive, 0 negative, -1 unknown, which are left out.
        decision: the objective.
    """
    thresholds_K = np.full(scores_NK.shape[1], DEFAULT_THRESHOLD)
    for k in range(scores_NK.shape[1]):
        known_N = targets_NK[:, k] >= 0
        positive_N = targets_NK[known_N, k] == 1
        if positive_N.sum() >= decision.min_positives:
            thresholds_K[k] = _choose(scores_NK[known_N, k].astype(np.float64), positive_N, decision)
    return thresholds_K


def _choose(scores_N: np.ndarray, positive_N: np.ndarray, decision: Decision) -> float:
    order_N = np.argsort(-scores_N, kind="stable")
    ranked_N = scores_N[order_N]
    # Images of equal score are predicted together, so a cut is only possible after the last of them.
    last_C = np.flatnonzero(np.append(ranked_N[1:] != ranked_N[:-1], True))
    hits_C = positive_N[order_N].cumsum()[last_C]
    predicted_C = last_C + 1
    if decision.objective == "f1":
        # F1 = 2 · hits / (predictions + positives).
        # argmax takes the first of equal values, which is the highest threshold.
        cut = int(np.argmax(2 * hits_C / (predicted_C + positive_N.sum())))
    elif decision.objective == "precision":
        reached = np.flatnonzero(hits_C / predicted_C >= decision.floor)
        if not len(reached):
            return NEVER
        # Recall rises down the ranking, so the last cut that reaches the floor has the highest one.
        cut = int(reached[-1])
    else:
        # Recall rises down the ranking to 1, so some cut reaches the floor, and the first one predicts the fewest.
        cut = int(np.flatnonzero(hits_C / positive_N.sum() >= decision.floor)[0])
    return _midway(ranked_N, int(last_C[cut]))


def _midway(ranked_N: np.ndarray, place: int) -> float:
    """Midway between the score at a place of the descending ranking and the next lower one.

    If float64 has no number between the two, it is the lower one.
    """
    above = float(ranked_N[place])
    # If the lowest score is 0, a threshold of 0 would not predict it, so the bound is -1.
    lowest = 0.0 if above > 0 else -1.0
    below = float(ranked_N[place + 1]) if place + 1 < len(ranked_N) else lowest
    middle = below + (above - below) / 2
    # `DecisionRule.decide` uses >: with a threshold of `above`, that image would not be predicted.
    return middle if middle < above else below
