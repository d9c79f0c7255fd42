"""From scores to the columns that users see. Legend of shapes: N images, K classes."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kmcl_platform.registry.model.decision_rule import DecisionRule
from kmcl_platform.registry.model.error_detection import binary_entropy
from kmcl_platform.registry.model.schema import (
    DECISION_PREFIX,
    ENTROPY_PREFIX,
    LABELS_COLUMN,
    SCORE_PREFIX,
    UNCERTAINTY_PREFIX,
)


def to_columns(
    class_names: Sequence[str],
    rule: DecisionRule,
    scores_NK: np.ndarray,
    uncertainties_NK: np.ndarray | None,
    *,
    raw_scores: bool = False,
) -> dict[str, Any]:
    """The columns of a prediction, in the order of the signature (`column_names`).

    Args:
        class_names: K names.
        rule: of the model.
        scores_NK: before calibration, in [0, 1].
        uncertainties_NK: of the kernels, in [0, 1). None: there is no such column.
        raw_scores: give these scores instead of calibrated ones; all other columns stay the same.
    """
    calibrated_NK = rule.calibrate(scores_NK)
    decided_NK = rule.decide(calibrated_NK)
    labels = []
    for scores_K, decided_K in zip(calibrated_NK, decided_NK, strict=True):
        # Stable: classes of equal score are in the order of the model.
        order = [k for k in np.argsort(-scores_K, kind="stable") if decided_K[k]]
        labels.append("|".join(class_names[k] for k in order))
    parts = [
        # float64, because the model's signature says `double`.
        (SCORE_PREFIX, scores_NK.astype(np.float64) if raw_scores else calibrated_NK),
        (ENTROPY_PREFIX, binary_entropy(calibrated_NK)),
    ]
    if uncertainties_NK is not None:
        parts.append((UNCERTAINTY_PREFIX, uncertainties_NK.astype(np.float64)))
    parts.append((DECISION_PREFIX, decided_NK))
    columns: dict[str, Any] = {LABELS_COLUMN: labels}
    for prefix, values_NK in parts:
        columns |= {f"{prefix}{name}": values_NK[:, k] for k, name in enumerate(class_names)}
    return columns


def column_names(class_names: Sequence[str], *, shows_uncertainty: bool) -> tuple[list[str], list[str]]:
    """The names of the columns with numbers, and of the columns with decisions, which follow them."""
    prefixes = [SCORE_PREFIX, ENTROPY_PREFIX, *([UNCERTAINTY_PREFIX] if shows_uncertainty else [])]
    numbers = [f"{prefix}{name}" for prefix in prefixes for name in class_names]
    return numbers, [f"{DECISION_PREFIX}{name}" for name in class_names]
