"""The paired bootstrap of a difference in mAP, without reading or writing anything.

Legend of shapes: N images, K classes, R resamples, S steps of a precision-recall curve.
"""

from dataclasses import dataclass

import numpy as np

_CHUNK = 64
"""Draws at a time; a row of their counts is then a few cache lines."""


@dataclass(frozen=True)
class Difference:
    """A difference in mAP, and its interval over random choices of the test images.

    Attributes:
        value: candidate minus champion, on all images.
        low: lower end of the interval.
        high: its upper end.
    """

    value: float
    low: float
    high: float


def bootstrap_difference(
    candidate_NK: np.ndarray,
    champion_NK: np.ndarray,
    targets_NK: np.ndarray,
    *,
    resamples: int,
    confidence: float,
    seed: int = 0,
) -> Difference:
    """The paired bootstrap of the difference in mAP: both models are scored on the same draws of images.

    An image that is drawn m times counts m times, so that the scores are sorted only once. A class without a positive
    image in a draw is left out of both means, as in mAP.

    Args:
        candidate_NK: scores in [0, 1].
        champion_NK: the other model's, of the same images.
        targets_NK: 1 positive, 0 negative, -1 unknown.
        resamples: R, 1 or more.
        confidence: of the percentile interval, in (0, 1).
        seed: of the draws, 0 or more.

    Reference: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13 (percentile interval).
    """
    num_images = len(targets_NK)
    candidate, champion = _rank_all(candidate_NK, targets_NK), _rank_all(champion_NK, targets_NK)
    value = float(_mean_difference(candidate, champion, np.ones((num_images, 1), dtype=np.float32))[0])
    rng = np.random.Generator(np.random.PCG64(seed))
    drawn: list[np.ndarray] = []
    for start in range(0, resamples, _CHUNK):
        size = min(_CHUNK, resamples - start)
        # How often each image is drawn, in as many draws with replacement as there are images.
        counts_RN = rng.multinomial(num_images, np.full(num_images, 1 / num_images), size=size)
        # One row for each image: the rows of a class are then picked in the order of its ranking.
        drawn.append(_mean_difference(candidate, champion, np.ascontiguousarray(counts_RN.T, dtype=np.float32)))
    # A draw in which no class has a positive image has no mAP, and is left out.
    low, high = np.nanquantile(np.concatenate(drawn), [(1 - confidence) / 2, (1 + confidence) / 2])
    return Difference(value, float(low), float(high))


@dataclass(frozen=True)
class _Class:
    """One class's images in the order of a model's scores, with what its average precision needs.

    Attributes:
        order: images with a known label, the highest score first.
        begins: the first place of each step of the curve that has a positive image. A step ends where the next one
            begins. Steps without a positive image are part of the step after them.
        end: number of images in all those steps.
        positives: the positive images, in that order.
        steps: the step of each.
    """

    order: np.ndarray
    begins: np.ndarray
    end: int
    positives: np.ndarray
    steps: np.ndarray


def _rank_all(scores_NK: np.ndarray, targets_NK: np.ndarray) -> list[_Class | None]:
    """A model's scores, sorted once for all draws. None: the class has no positive image."""
    return [_rank(scores_NK[:, k], targets_NK[:, k]) for k in range(targets_NK.shape[1])]


def _rank(scores_N: np.ndarray, targets_N: np.ndarray) -> _Class | None:
    known = np.flatnonzero(targets_N >= 0)
    order = known[np.argsort(-scores_N[known], kind="stable")]
    positive = targets_N[order] == 1
    if not positive.any():
        return None
    # Images of equal score are one step of the curve, as in scikit-learn.
    ends = np.flatnonzero(np.append(scores_N[order][1:] != scores_N[order][:-1], True))
    places = np.flatnonzero(positive)
    # A step without a positive image adds nothing to the sum, but its images count in the steps after it.
    needed, steps = np.unique(np.searchsorted(ends, places), return_inverse=True)
    needed_ends = ends[needed]
    return _Class(order, np.append(0, needed_ends[:-1] + 1), int(needed_ends[-1]) + 1, order[places], steps)


def _mean_difference(one: list[_Class | None], other: list[_Class | None], counts_NR: np.ndarray) -> np.ndarray:
    """mAP of one minus that of the other, for each column of counts: differences_R, NaN where no class is defined."""
    total_R = np.zeros(counts_NR.shape[1])
    classes_R = np.zeros(counts_NR.shape[1])
    for own, others in zip(one, other, strict=True):
        # Both models are compared on the same targets, so a class without a positive image is None in both.
        if own is None or others is None:
            continue
        difference_R = _average_precision(own, counts_NR) - _average_precision(others, counts_NR)
        defined_R = ~np.isnan(difference_R)
        total_R += np.where(defined_R, difference_R, 0)
        classes_R += defined_R
    return np.where(classes_R > 0, total_R / np.maximum(classes_R, 1), np.nan)


def _average_precision(ranked: _Class, counts_NR: np.ndarray) -> np.ndarray:
    """Average precision if each image counts as often as given: values_R, NaN without a positive image."""
    # AP = Σ_s P_s · (R_s - R_{s-1}): P_s is hits / images down to step s, and R_s - R_{s-1} is the positives of step s
    # / all positives. Sums in float64, because float32 is exact for whole numbers only up to 2**24.
    above_SR = np.add.reduceat(counts_NR[ranked.order[: ranked.end]], ranked.begins, axis=0).cumsum(
        axis=0, dtype=np.float64
    )
    # The steps are in order, so the positives of one step are neighbours.
    first = np.flatnonzero(np.diff(ranked.steps, prepend=-1))
    gained_SR = np.add.reduceat(counts_NR[ranked.positives], first, axis=0)
    hits_SR = gained_SR.cumsum(axis=0, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        # If no image down to this step was drawn, the step has no positive either and adds 0.
        precision_SR = np.where(above_SR > 0, hits_SR / above_SR, 0)
        values_R: np.ndarray = (precision_SR * gained_SR).sum(axis=0) / hits_SR[-1]
    return values_R
