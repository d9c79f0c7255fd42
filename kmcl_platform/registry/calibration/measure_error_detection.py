"""How well a quantity finds a model's wrong decisions: the area under the ROC curve, with a bootstrap interval.

Legend of shapes: N images, K classes, M decisions, D values, Q bins, R resamples.
"""

import numpy as np
from scipy.stats import rankdata

from kmcl_platform.registry.model.error_detection import DetectionArea

_DRAWS = 64
"""Resamples at a time, which bounds the memory."""
_VALUES = 1000
"""The largest number of values of wrong decisions that the resamples distinguish."""


def measure_detection_area(
    values_NK: np.ndarray,
    wrong_NK: np.ndarray,
    known_NK: np.ndarray,
    *,
    resamples: int,
    confidence: float,
    seed: int = 0,
) -> DetectionArea | None:
    """The area under the ROC curve of finding wrong decisions by a high value, over all decisions of all labels.

    The bootstrap draws images, not decisions: decisions about one image depend on each other.

    Args:
        values_NK: the quantity, finite.
        wrong_NK: bool; whether the decision is wrong.
        known_NK: bool; decisions whose truth is unknown are left out.
        resamples: R, 1 or more.
        confidence: of the percentile interval, in (0, 1).
        seed: of the draws, 0 or more.

    Returns:
        The area and its interval. None: no known decision is wrong, or none is right.

    Reference: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13 (percentile interval).
    """
    wrong_M, values_M = wrong_NK[known_NK], values_NK[known_NK]
    if wrong_M.all() or not wrong_M.any():
        return None
    wrong_NQ, right_NQ = _histograms(values_NK, wrong_NK, known_NK)
    num_images = len(values_NK)
    rng = np.random.Generator(np.random.PCG64(seed))
    drawn: list[np.ndarray] = []
    for start in range(0, resamples, _DRAWS):
        size = min(_DRAWS, resamples - start)
        # How often each image is drawn, in as many draws with replacement as there are images.
        counts_RN = rng.multinomial(num_images, np.full(num_images, 1 / num_images), size=size).astype(np.float32)
        # The histogram of a draw is the sum of its images' histograms. float32 is exact for whole numbers up to 2**24,
        # far above the number of decisions.
        drawn.append(_areas(counts_RN @ wrong_NQ, counts_RN @ right_NQ))
    areas_R = np.concatenate(drawn)
    # A draw with wrong decisions only, or with none, has no area; only a handful of images can give such draws.
    low, high = np.nanquantile(areas_R, [(1 - confidence) / 2, (1 + confidence) / 2])
    return DetectionArea(_area(values_M, wrong_M), float(low), float(high))


def _area(values_M: np.ndarray, wrong_M: np.ndarray) -> float:
    """The Mann-Whitney statistic: the share of (wrong, right) pairs whose wrong value is higher; ties count 1/2."""
    num_wrong = int(wrong_M.sum())
    num_right = len(wrong_M) - num_wrong
    # U = (sum of the ranks of the wrong ones) - n (n + 1) / 2 counts the pairs. Ties have their mean rank, which counts
    # 1/2.
    rank_sum = rankdata(values_M)[wrong_M].sum()
    return float((rank_sum - num_wrong * (num_wrong + 1) / 2) / (num_wrong * num_right))


def _histograms(values_NK: np.ndarray, wrong_NK: np.ndarray, known_NK: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each image's wrong and right decisions by value: wrong_NQ and right_NQ, float32.

    Each value of a wrong decision is a separate bin, and so is each gap between two such values. The area needs no
    finer bins. Where there are over 1,000 such values, some share a bin, which moves the area by 1/2,000 at most.
    """
    edges_D = np.unique(values_NK[wrong_NK & known_NK])
    if len(edges_D) > _VALUES:
        # Quantiles, so that each bin has about the same number of wrong decisions. "lower" interpolates no value.
        edges_D = np.unique(np.quantile(values_NK[wrong_NK & known_NK], np.linspace(0, 1, _VALUES), method="lower"))
    # A value equal to edge i gives i + (i + 1), an odd bin. A value between two edges gives 2i, an even bin.
    bins_NK = np.searchsorted(edges_D, values_NK, "left") + np.searchsorted(edges_D, values_NK, "right")
    num_images, num_bins = len(values_NK), 2 * len(edges_D) + 1
    # One number for image and bin, so that a single bincount makes the histograms of all images.
    place_NK = np.arange(num_images)[:, None] * num_bins + bins_NK
    wrong_NQ, right_NQ = (
        np.bincount(place_NK[chosen_NK], minlength=num_images * num_bins)
        .reshape(num_images, num_bins)
        .astype(np.float32)
        for chosen_NK in (wrong_NK & known_NK, ~wrong_NK & known_NK)
    )
    return wrong_NQ, right_NQ


def _areas(wrong_RQ: np.ndarray, right_RQ: np.ndarray) -> np.ndarray:
    """The area of each resample: areas_R, NaN where it has no wrong or no right decision."""
    wrong_RQ, right_RQ = wrong_RQ.astype(np.float64), right_RQ.astype(np.float64)
    # For each bin the right decisions with a lower value, and half of those in the same bin, because ties count 1/2.
    below_RQ = right_RQ.cumsum(axis=1) - right_RQ / 2
    pairs_R = wrong_RQ.sum(axis=1) * right_RQ.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        areas_R: np.ndarray = np.where(pairs_R > 0, (wrong_RQ * below_RQ).sum(axis=1) / pairs_R, np.nan)
    return areas_R
