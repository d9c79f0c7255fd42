"""The entropy of scores, and how well a quantity separates wrong decisions from right ones. Uses NumPy only.

Legend of shapes: N images, K classes.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

CHANCE = 0.5
"""The area under the ROC curve of a ranking by chance."""


@dataclass(frozen=True)
class DetectionArea:
    """How well a quantity separates wrong decisions from right ones.

    Attributes:
        auroc: the probability that a wrong decision has a higher value than a right one, in [0, 1].
        low: the lower end of its bootstrap interval.
        high: the upper end.
    """

    auroc: float
    low: float
    high: float

    @property
    def separates(self) -> bool:
        """Whether the whole interval is above chance. False for NaN."""
        return self.low > CHANCE

    def __str__(self) -> str:
        return f"AUROC {self.auroc:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class ErrorDetection:
    """What was measured on the validation split about finding wrong decisions.

    A decision is wrong if the model predicts a label whose target is 0, or does not predict one whose target is 1.

    Attributes:
        images: how many images were used.
        decisions: how many (image, label) decisions with a known truth.
        wrong: how many of them are wrong.
        confidence: of the intervals, in (0, 1).
        entropy: the area for the entropy of the calibrated scores. None: all decisions were right, or all were wrong.
        uncertainty: the area for the uncertainty of the kernels. None: as above, or the kernels were not trained.

    Reference: Hendrycks and Gimpel, "A Baseline for Detecting Misclassified and Out-of-Distribution Examples in Neural
    Networks", 2017, section 2.
    """

    images: int
    decisions: int
    wrong: int
    confidence: float
    entropy: DetectionArea | None
    uncertainty: DetectionArea | None

    @property
    def shows_uncertainty(self) -> bool:
        """Whether predictions show the uncertainty of the kernels: only if its whole interval is above chance."""
        return self.uncertainty is not None and self.uncertainty.separates

    def sentence(self) -> str:
        """How well entropy and uncertainty find wrong decisions, and whether predictions show the uncertainty."""
        text = f"wrong decisions on validation, found by entropy: {self.entropy or 'undefined'}"
        if self.uncertainty is None:
            return text
        shown = "shown" if self.shows_uncertainty else "not above 0.5, so predictions leave it out"
        return f"{text}; by the kernels' uncertainty: {self.uncertainty} ({shown})"

    def to_document(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)


def read_error_detection(document: Mapping[str, Any] | None) -> ErrorDetection | None:
    """The measurement in a model's description.

    Args:
        document: as `ErrorDetection.to_document` gives it. None: it was not measured, as for models that were
            registered before this measurement existed.

    Raises:
        KeyError, TypeError: the document has another form.
    """
    if document is None:
        return None
    areas = [None if area is None else DetectionArea(**area) for area in (document["entropy"], document["uncertainty"])]
    return ErrorDetection(
        document["images"], document["decisions"], document["wrong"], document["confidence"], areas[0], areas[1]
    )


def binary_entropy(scores_NK: np.ndarray) -> np.ndarray:
    """The entropy of each label by itself, -p log2 p - (1 - p) log2(1 - p): float64, in bits, in [0, 1].

    It is 0 for a score of 0 or 1 and 1 for a score of 0.5.

    Args:
        scores_NK: p, probabilities in [0, 1].
    """
    p_NK = scores_NK.astype(np.float64)
    # 0 log 0 counts as 0. The logarithm of the smallest normal float64 is finite, and 0 times it is 0.
    tiny = np.finfo(np.float64).tiny
    entropy_NK: np.ndarray = -(p_NK * np.log2(p_NK.clip(tiny)) + (1 - p_NK) * np.log2((1 - p_NK).clip(tiny)))
    # Rounding may leave the range by 1e-16; -0.0 becomes 0.0.
    return entropy_NK.clip(0, 1) + 0.0
