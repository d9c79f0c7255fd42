"""How well a trial does on each class, and how the baseline did.

Legend of shapes: N images, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import average_precision_score

from kmcl_platform.data.scores_file import SplitScores
from kmcl_platform.tracking.runs.ui_tables import to_mlflow_table

THRESHOLD = 0.5
"""A label is predicted above it, as in method/metrics.py, which would bring torch into the process that draws."""


@dataclass(frozen=True)
class ClassResult:
    """One class on the validation split.

    Attributes:
        positives: images that are known to show it.
        known: images of which it is known whether they do.
        average_precision: in [0, 1]; none without a positive.
        baseline: the baseline trial's; none where there is none.
        precision: of what is predicted above 0.5; none where nothing is.
        recall: share of the positives that is predicted; none without a positive.
    """

    positives: int
    known: int
    average_precision: float | None
    baseline: float | None
    precision: float | None
    recall: float | None


def measure_classes(own: SplitScores, baseline: SplitScores | None) -> list[ClassResult]:
    """K results, in the order of the classes."""
    return [_measure(own, baseline, k) for k in range(own.scores_NK.shape[1])]


def class_table(names: Sequence[str], results: Sequence[ClassResult]) -> str:
    """MLflow's table of the classes."""
    columns = ["class", "positives", "known", "AP", "AP of the baseline", "AP gained", "precision", "recall"]
    rows = []
    for name, one in zip(names, results, strict=True):
        gained = None
        if one.average_precision is not None and one.baseline is not None:
            gained = one.average_precision - one.baseline
        rows.append(
            [name, one.positives, one.known, one.average_precision, one.baseline, gained, one.precision, one.recall]
        )
    return to_mlflow_table(columns, rows)


def _measure(own: SplitScores, baseline: SplitScores | None, k: int) -> ClassResult:
    known = own.targets_NK[:, k] >= 0
    positive, scores = own.targets_NK[known, k] == 1, own.scores_NK[known, k]
    predicted = scores > THRESHOLD
    hits = int((predicted & positive).sum())
    return ClassResult(
        positives=int(positive.sum()),
        known=int(known.sum()),
        average_precision=_average_precision(positive, scores),
        # Of a continued search with other images the baseline's scores say nothing.
        baseline=None
        if baseline is None or len(baseline.scores_NK) != len(own.scores_NK)
        else _average_precision(positive, baseline.scores_NK[known, k]),
        precision=hits / int(predicted.sum()) if predicted.any() else None,
        recall=hits / int(positive.sum()) if positive.any() else None,
    )


def _average_precision(positive: np.ndarray, scores: np.ndarray) -> float | None:
    return float(average_precision_score(positive, scores)) if positive.any() else None
