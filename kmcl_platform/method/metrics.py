"""Multilabel metrics of scores against targets, where some labels may be unknown.

Scores are probabilities. Targets are 1 positive, 0 negative, -1 unknown. Unknown elements are in no metric, as if they
were not in the data.

Shape suffixes: N dataset, K classes, T the highest scores of a sample. In shape KN each row is one class, with its
samples in order of descending score.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

THRESHOLD = 0.5
"""A label is predicted if its score is above this value. A score of exactly 0.5 (logit 0) predicts nothing."""

TOP = 3
"""Labels predicted per sample by the `top3/` metrics."""


def average_precision_per_class(scores_NK: Tensor, targets_NK: Tensor) -> Tensor:
    """Average precision of each class, equal to sklearn.metrics.average_precision_score: Σ (R_i - R_{i-1}) P_i.

    P_i and R_i are precision and recall over the samples down to the i-th different score. Samples of equal score count
    together, so the order of the data does not matter.

    Args:
        scores_NK: finite numbers.
        targets_NK: 1 positive, 0 negative, -1 unknown.

    Returns:
        K values in [0, 1], float64; NaN for a class without a known positive.

    Raises:
        ValueError: shapes differ, a score is not finite, or a target has another value.
    """
    _check(scores_NK, targets_NK)
    return _average_precision(_rank(scores_NK, targets_NK))


def area_under_roc_per_class(scores_NK: Tensor, targets_NK: Tensor) -> Tensor:
    """Area under the ROC curve of each class, equal to sklearn.metrics.roc_auc_score.

    It is the probability that a positive has a higher score than a negative; equal scores count one half.

    Args:
        scores_NK: finite numbers.
        targets_NK: 1 positive, 0 negative, -1 unknown.

    Returns:
        K values in [0, 1], float64; NaN for a class without a known positive or without a known negative.

    Raises:
        ValueError: shapes differ, a score is not finite, or a target has another value.
    """
    _check(scores_NK, targets_NK)
    return _area_under_roc(_rank(scores_NK, targets_NK))


def ranking_metrics(scores_NK: Tensor, targets_NK: Tensor) -> dict[str, float]:
    """mAP and macro_AUROC: means of average precision and area over the classes where they are defined.

    Like the other two functions it gets what `check_scores` accepts, and leaves out metrics that are undefined.
    """
    metrics: dict[str, float] = {}
    curves = _rank(scores_NK, targets_NK)
    for name, values_K in (("mAP", _average_precision(curves)), ("macro_AUROC", _area_under_roc(curves))):
        mean = values_K.nanmean().item()
        if not math.isnan(mean):
            metrics[name] = mean
    return metrics


def threshold_metrics(scores_NK: Tensor, targets_NK: Tensor) -> dict[str, float]:
    """CP, CR, CF1, OP, OR, OF1 of the labels whose score is above the threshold.

    - CP, CR: means over classes of precision (classes with a known label; 0 if nothing is predicted) and of recall
      (classes with a positive).
    - OP, OR: precision (0 if nothing is predicted) and recall over the labels of all classes together.
    - CF1, OF1: harmonic means of precision and recall; 0 if both are 0.

    Without a known positive only CP and OP are defined (0).
    """
    known_NK = targets_NK >= 0
    return _precision_and_recall((scores_NK > THRESHOLD) & known_NK, targets_NK, known_NK)


def top_metrics(scores_NK: Tensor, targets_NK: Tensor) -> dict[str, float]:
    """As `threshold_metrics`, for the 3 known labels of each sample with the highest scores."""
    known_NK = targets_NK >= 0
    return _precision_and_recall(_highest_known(scores_NK, known_NK), targets_NK, known_NK)


def check_scores(scores_NK: Tensor, targets_NK: Tensor) -> None:
    """Check the input of an evaluation.

    Args:
        scores_NK: probabilities.
        targets_NK: 1 positive, 0 negative, -1 unknown.

    Raises:
        ValueError: shapes differ, a score is not in [0, 1], or a target has another value.
    """
    _check(scores_NK, targets_NK)
    if bool(((scores_NK < 0) | (scores_NK > 1)).any()):
        low, high = scores_NK.min().item(), scores_NK.max().item()
        raise ValueError(f"scores_NK: got values in [{low}, {high}]; valid: probabilities in [0, 1]")


class _Curves(NamedTuple):
    """Counts down the ranking of each class: samples with at least the score of a position, and with a higher one.

    Only the last position of each group of equal scores is used.

    Attributes:
        ends_KN: bool, whether a position is the last one of its group.
        positives_KN: positives down to the position.
        positives_above_KN: positives down to the end of the group before.
        negatives_KN: negatives down to the position.
        negatives_above_KN: negatives down to the end of the group before.
    """

    ends_KN: Tensor
    positives_KN: Tensor
    positives_above_KN: Tensor
    negatives_KN: Tensor
    negatives_above_KN: Tensor


def _rank(scores_NK: Tensor, targets_NK: Tensor) -> _Curves:
    # Unknown elements get the score -inf: they move to the end of their row and are in neither count.
    # Transposed once, so that each class is contiguous for the sort and the sums.
    sunk_KN = torch.where(targets_NK >= 0, scores_NK, -torch.inf).T.contiguous()
    # The sort need not be stable: only the ends of groups of equal scores are used, and they do not depend on the order
    # in a group.
    ranked_KN, order_KN = sunk_KN.sort(dim=1, descending=True)
    targets_KN = targets_NK.T.contiguous().gather(1, order_KN)
    ends_KN = torch.ones_like(ranked_KN, dtype=torch.bool)
    ends_KN[:, :-1] = ranked_KN[:, :-1] != ranked_KN[:, 1:]
    # int32 has room for 2 billion samples, and needs half the memory of cumsum's default, int64.
    positives_KN = (targets_KN == 1).cumsum(1, dtype=torch.int32)
    negatives_KN = (targets_KN == 0).cumsum(1, dtype=torch.int32)
    return _Curves(
        ends_KN, positives_KN, _previous_end(positives_KN, ends_KN), negatives_KN, _previous_end(negatives_KN, ends_KN)
    )


def _previous_end(counts_KN: Tensor, ends_KN: Tensor) -> Tensor:
    """The count at the last group end before each position. Counts never fall, so a running maximum finds it."""
    latest_KN = (counts_KN * ends_KN).cummax(1).values if counts_KN.numel() else counts_KN
    # The first position has no group above it: its count is 0.
    previous_KN = torch.zeros_like(counts_KN)
    previous_KN[:, 1:] = latest_KN[:, :-1]
    return previous_KN


def _average_precision(curves: _Curves) -> Tensor:
    """Σ precision · positives of each group, divided by all positives; 0/0 gives NaN without a positive."""
    # The clamp matters only for a class without any known label, where both counts are 0.
    precision_KN = curves.positives_KN.double() / (curves.positives_KN + curves.negatives_KN).clamp(min=1)
    # A group counts once, at its end; the other positions get 0.
    gained_KN = (curves.positives_KN - curves.positives_above_KN) * curves.ends_KN
    return (precision_KN * gained_KN).sum(1) / gained_KN.sum(1)


def _area_under_roc(curves: _Curves) -> Tensor:
    """The area under straight lines between the group ends, divided by positives times negatives."""
    width_KN = (curves.negatives_KN - curves.negatives_above_KN) * curves.ends_KN
    # Within a group the curve is a straight line, so its mean height is half-way: equal scores count one half.
    height_KN = (curves.positives_KN + curves.positives_above_KN).double() / 2
    gained_KN = (curves.positives_KN - curves.positives_above_KN) * curves.ends_KN
    # torch sums int32 into int64, so the product of the two counts does not overflow.
    return (width_KN * height_KN).sum(1) / (width_KN.sum(1) * gained_KN.sum(1))


def _highest_known(scores_NK: Tensor, known_NK: Tensor) -> Tensor:
    sunk_NK = torch.where(known_NK, scores_NK, -torch.inf)
    top_NT = sunk_NK.topk(min(TOP, scores_NK.shape[1]), dim=1).indices
    # A sample with fewer than 3 known labels has unknown ones among its highest: the last operation removes them.
    return torch.zeros_like(known_NK).scatter(1, top_NT, True) & known_NK


def _precision_and_recall(predicted_NK: Tensor, targets_NK: Tensor, known_NK: Tensor) -> dict[str, float]:
    """CP, CR, CF1, OP, OR, OF1. All predictions must be known labels."""
    positive_NK = targets_NK == 1
    known_K = known_NK.any(0)
    hits_K = (predicted_NK & positive_NK).sum(0).double()
    predictions_K = predicted_NK.sum(0)
    positives_K = positive_NK.sum(0)
    if not bool(known_K.any()):
        return {}
    metrics = {
        # Without a prediction there is no hit either, so 0/1 gives the precision 0.
        "CP": (hits_K / predictions_K.clamp(min=1))[known_K].mean().item(),
        "OP": (hits_K.sum() / predictions_K.sum().clamp(min=1)).item(),
    }
    if bool(positives_K.any()):
        metrics["CR"] = (hits_K / positives_K)[positives_K > 0].mean().item()
        metrics["OR"] = (hits_K.sum() / positives_K.sum()).item()
        metrics["CF1"] = _harmonic_mean(metrics["CP"], metrics["CR"])
        metrics["OF1"] = _harmonic_mean(metrics["OP"], metrics["OR"])
    return metrics


def _harmonic_mean(a: float, b: float) -> float:
    return 2 * a * b / (a + b) if a + b > 0 else 0.0


def _check(scores_NK: Tensor, targets_NK: Tensor) -> None:
    if scores_NK.dim() != 2 or scores_NK.shape != targets_NK.shape:
        got = f"{tuple(scores_NK.shape)} and {tuple(targets_NK.shape)}"
        raise ValueError(f"scores_NK, targets_NK: got shapes {got}; valid: two equal shapes (samples, classes)")
    if not bool(scores_NK.isfinite().all()):
        raise ValueError(
            f"scores_NK: got {int((~scores_NK.isfinite()).sum())} values that are not finite; valid: finite numbers"
        )
    valid_NK = (targets_NK == 1) | (targets_NK == 0) | (targets_NK == -1)
    if not bool(valid_NK.all()):
        value = targets_NK[~valid_NK][0].item()
        raise ValueError(f"targets_NK: got the value {value}; valid: 1 positive, 0 negative, -1 unknown")
