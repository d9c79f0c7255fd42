"""The calibration error: how far scores are from the frequencies of their labels.

Legend of shapes: N images, K classes.
"""

import numpy as np

CALIBRATION_BINS = 15
"""As in the tables of Guo et al."""


def expected_calibration_error(scores_NK: np.ndarray, targets_NK: np.ndarray) -> float | None:
    """The mean distance between a score and the share of positive labels at that score. None: no label is known.

    Over all known labels, in 15 bins of equal width: Σ_bins share of labels · |mean score - share of positives|.

    Args:
        scores_NK: in [0, 1].
        targets_NK: 1 positive, 0 negative, -1 unknown.

    Reference: Guo et al., "On Calibration of Modern Neural Networks", 2017, equation 3, for each label by itself.
    """
    known_NK = targets_NK >= 0
    scores, positives = scores_NK[known_NK].astype(np.float64), targets_NK[known_NK] == 1
    if not len(scores):
        return None
    # A score of exactly 1 belongs to the last bin.
    bins = np.minimum((scores * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    score_sums = np.bincount(bins, weights=scores, minlength=CALIBRATION_BINS)
    positive_sums = np.bincount(bins, weights=positives, minlength=CALIBRATION_BINS)
    # n/N · |Σ scores / n - Σ positives / n| of a bin with n of N labels is |Σ scores - Σ positives| / N. Without the
    # division by n, an empty bin gives 0.
    return float(np.abs(score_sums - positive_sums).sum() / len(scores))
