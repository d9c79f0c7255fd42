"""Measures of a trial for each class, and those of the baseline trial for comparison.

Legend of shapes: N images, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import average_precision_score

from kmcl_platform.data.scores_file import SplitScores
from kmcl_platform.tracking.runs.ui_tables import to_mlflow_table

THRESHOLD = 0.5
"""A score above it predicts the label, as in method/metrics.py. That module is not imported here: it imports torch."""


@dataclass(frozen=True)
class ClassResult:
    """One class on the validation split.

    Attributes:
        positives: images that are known to show the class.
        known: images that are known to show it or not to show it.
        average_precision: in [0, 1]. None: no positive image.
        baseline: average precision of the baseline trial. None: there is no baseline, or it saw other images.
        precision: share of the predictions that are right. None: no image is predicted to show the class.
        recall: share of the positive images that are predicted. None: no positive image.
    """

    positives: int
    known: int
    average_precision: float | None
    baseline: float | None
    precision: float | None
    recall: float | None


def measure_classes(own: SplitScores, baseline: SplitScores | None) -> list[ClassResult]:
    """Measure each class.

    Args:
        own: the trial's scores.
        baseline: the baseline trial's scores on the same images. None: no comparison.

    Returns:
        K results, in the order of the classes.
    """
    return [_measure(own, baseline, k) for k in range(own.scores_NK.shape[1])]


def class_table(names: Sequence[str], results: Sequence[ClassResult]) -> str:
    """MLflow's table of the classes, in their order; `number` is a class's place in the dataset, from 0."""
    columns = ["class", "number", "positives", "known", "AP", "AP of the baseline", "AP gained", "precision", "recall"]
    rows = []
    for number, (name, one) in enumerate(zip(names, results, strict=True)):
        gained = None
        if one.average_precision is not None and one.baseline is not None:
            gained = one.average_precision - one.baseline
        precisions = [one.average_precision, one.baseline, gained, one.precision, one.recall]
        rows.append([name, number, one.positives, one.known, *precisions])
    return to_mlflow_table(columns, rows)


def _measure(own: SplitScores, baseline: SplitScores | None, k: int) -> ClassResult:
    # Unknown labels (-1) count neither for nor against a prediction.
    known = own.targets_NK[:, k] >= 0
    positive, scores = own.targets_NK[known, k] == 1, own.scores_NK[known, k]
    predicted = scores > THRESHOLD
    hits = int((predicted & positive).sum())
    return ClassResult(
        positives=int(positive.sum()),
        known=int(known.sum()),
        average_precision=_average_precision(positive, scores),
        # A search may be continued with other images. The baseline's scores then cannot be compared.
        baseline=None
        if baseline is None or len(baseline.scores_NK) != len(own.scores_NK)
        else _average_precision(positive, baseline.scores_NK[known, k]),
        precision=hits / int(predicted.sum()) if predicted.any() else None,
        recall=hits / int(positive.sum()) if positive.any() else None,
    )


def _average_precision(positive: np.ndarray, scores: np.ndarray) -> float | None:
    # Without a positive image scikit-learn gives 0, which would look like a class that the model never finds.
    return float(average_precision_score(positive, scores)) if positive.any() else None
