"""The decision rule, from scores to labels: calibration, and a threshold for each class. Uses NumPy only.

Legend of shapes: N images, K classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

DEFAULT_THRESHOLD = 0.5
NEVER = 1.0
"""The threshold of a class that is never predicted: no score is above it."""


@dataclass(frozen=True)
class DecisionRule:
    """How a registered model turns scores into decisions.

    Attributes:
        temperature: divides the logits; above 0; 1 leaves them as they are.
        thresholds: of calibrated scores, one for each class. A label is predicted if its score is above its threshold.
        objective: of the fit of the thresholds. Empty: they were not fitted.
        floor: the smallest precision or recall. None: the objective has no floor.
        shift: is added to the divided logits.
    """

    temperature: float
    thresholds: tuple[float, ...]
    objective: str = ""
    floor: float | None = None
    shift: float = 0.0

    def calibrate(self, scores_NK: np.ndarray) -> np.ndarray:
        """The calibrated scores, float64, in [0, 1]."""
        return calibrate(scores_NK, self.temperature, self.shift)

    def decide(self, calibrated_NK: np.ndarray) -> np.ndarray:
        """Whether each label is predicted, from calibrated scores: bool."""
        decided_NK: np.ndarray = calibrated_NK > np.array(self.thresholds)
        return decided_NK

    def to_document(self) -> dict[str, object]:
        """For JSON."""
        return {
            "temperature": self.temperature,
            "shift": self.shift,
            "thresholds": list(self.thresholds),
            "objective": self.objective,
            "floor": self.floor,
        }


def default_rule(num_classes: int) -> DecisionRule:
    """The rule without a fit: no calibration, and labels whose score is above 0.5."""
    return DecisionRule(1.0, (DEFAULT_THRESHOLD,) * num_classes)


def read_rule(document: Mapping[str, Any] | None, class_names: Sequence[str]) -> DecisionRule:
    """The rule in a model's description.

    Args:
        document: as `to_document` gives it. None: the model was registered before rules existed.
        class_names: K names.

    Raises:
        ValueError, KeyError, TypeError: the document is not a rule, or is one for another number of classes.
    """
    if document is None:
        return default_rule(len(class_names))
    rule = DecisionRule(
        float(document["temperature"]),
        tuple(float(value) for value in document["thresholds"]),
        str(document["objective"]),
        None if document["floor"] is None else float(document["floor"]),
        float(document["shift"]),
    )
    if len(rule.thresholds) != len(class_names):
        raise ValueError(
            f"decision.thresholds: got {len(rule.thresholds)}; valid: {len(class_names)}, one for each class"
        )
    # Python's JSON reader accepts NaN and Infinity.
    if not (0 < rule.temperature < np.inf and np.isfinite([rule.shift, *rule.thresholds]).all()):
        raise ValueError("decision: got a temperature, shift or threshold out of range; valid: above 0, and finite")
    return rule


def calibrate(scores_NK: np.ndarray, temperature: float, shift: float = 0.0) -> np.ndarray:
    """sigmoid(logit(score) / T + shift): scores_NK in [0, 1], float64, in the same order as before.

    Args:
        scores_NK: float32 or float64, in [0, 1].
        temperature: T, above 0.
        shift: any finite number.

    Reference: Guo et al., "On Calibration of Modern Neural Networks", 2017, section 4, for each label by itself:
    temperature scaling; with a shift it is Platt scaling.
    """
    scores_NK = scores_NK.astype(np.float64)
    # Unchanged: logit and sigmoid would alter the last digits.
    if temperature == 1 and shift == 0:
        return scores_NK
    # log(1 + exp(-x)) without overflow.
    calibrated_NK: np.ndarray = np.exp(-np.logaddexp(0, -to_logits(scores_NK) / temperature - shift))
    return calibrated_NK


def to_logits(scores_NK: np.ndarray) -> np.ndarray:
    """The logits of scores in [0, 1], finite, float64; distinct float32 scores keep distinct logits."""
    # The bounds lie beyond the float32 numbers next to 0 and 1, so that no two different scores become equal.
    inside_NK = np.clip(scores_NK.astype(np.float64), 1e-46, 1 - 2.0**-25)
    # log(1 - s) would lose the digits of a small s; log1p(-s) does not.
    logits_NK: np.ndarray = np.log(inside_NK) - np.log1p(-inside_NK)
    return logits_NK
