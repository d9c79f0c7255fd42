"""How often two classes are positive on the same images, compared with how often independent classes would be.

Legend of shapes: N images, K classes, C clusters of classes. Each element of a KK table is over the images where both
classes are known.
"""

from dataclasses import dataclass

import numpy as np

_ROWS = 2**16
"""Images in one matrix product: float32 is exact up to 2**24, and the float32 copies of the targets stay small."""


@dataclass(frozen=True)
class Cooccurrence:
    """Counts of images for each pair of classes."""

    known_KK: np.ndarray
    """int64: images where both classes are known; symmetric."""
    positive_KK: np.ndarray
    """int64: of the images where both are known, those where the row's class is positive."""
    both_KK: np.ndarray
    """int64: images where both classes are positive; symmetric."""

    def expected_KK(self) -> np.ndarray:
        """The expected `both_KK` of independent classes, float64; 0 where nothing is known."""
        return _divide(self.positive_KK * self.positive_KK.T.astype(np.float64), self.known_KK, 0.0)

    def lift_KK(self) -> np.ndarray:
        """P(ab) / (P(a) P(b)), float64: 1 for independent classes, NaN where a class is never positive."""
        return _divide(self.both_KK, self.expected_KK(), np.nan)

    def smallest_expected_KK(self) -> np.ndarray:
        """The smallest expected count of the pair's four cells: both, only one, only the other, neither. float64.

        The cell of the rarer values of both labels has the smallest expected count.
        """
        rare_KK = np.minimum(self.positive_KK, self.known_KK - self.positive_KK).astype(np.float64)
        return _divide(rare_KK * rare_KK.T, self.known_KK, 0.0)

    def deviation_KK(self) -> np.ndarray:
        """The adjusted residual: count minus expected count, in standard deviations of independent classes.

        0 where it is undefined.

        Agresti, Categorical Data Analysis, 3.3: (n_ab - e) / sqrt(e (1 - P(a)) (1 - P(b))).
        """
        absent_KK = 1 - _divide(self.positive_KK, self.known_KK, 0.0)
        expected_KK = self.expected_KK()
        return _divide(self.both_KK - expected_KK, np.sqrt(expected_KK * absent_KK * absent_KK.T), 0.0)

    def correlation_KK(self) -> np.ndarray:
        """The phi coefficient of the two labels, float64 in [-1, 1]; 0 where it is undefined.

        It is Pearson's correlation of two binary variables: the adjusted residual / sqrt(n).
        """
        return _divide(self.deviation_KK(), np.sqrt(self.known_KK), 0.0)


def count_cooccurrence(targets_NK: np.ndarray) -> Cooccurrence:
    """Count the images of each pair of classes.

    Args:
        targets_NK: int8; 1 positive, 0 negative, -1 unknown.
    """
    num_classes = targets_NK.shape[1]
    known_KK, positive_KK, both_KK = (np.zeros((num_classes, num_classes), dtype=np.int64) for _ in range(3))
    for start in range(0, len(targets_NK), _ROWS):
        rows_NK = targets_NK[start : start + _ROWS]
        known_NK, present_NK = (rows_NK >= 0).astype(np.float32), (rows_NK == 1).astype(np.float32)
        both_KK += (present_NK.T @ present_NK).astype(np.int64)
        # Without unknown labels two of the three matrix products are plain counts.
        if known_NK.all():
            known_KK += len(rows_NK)
            positive_KK += present_NK.sum(axis=0).astype(np.int64)[:, None]
        else:
            known_KK += (known_NK.T @ known_NK).astype(np.int64)
            positive_KK += (present_NK.T @ known_NK).astype(np.int64)
    return Cooccurrence(known_KK, positive_KK, both_KK)


def order_by_similarity(similarity_KK: np.ndarray) -> list[int]:
    """An order of the K classes with similar classes next to each other: the leaves of an average-linkage clustering.

    Two clusters are joined at the pair of their ends that is most similar.

    Args:
        similarity_KK: symmetric and finite.
    """
    similarity_CC = similarity_KK.astype(np.float64).copy()
    np.fill_diagonal(similarity_CC, -np.inf)
    clusters = {k: [k] for k in range(len(similarity_CC))}
    while len(clusters) > 1:
        # argmax returns the first of equal values, so the order is the same on every machine.
        a, b = sorted(divmod(int(similarity_CC.argmax()), len(similarity_CC)))
        left, right = clusters[a], clusters.pop(b)
        merged_C = (len(left) * similarity_CC[a] + len(right) * similarity_CC[b]) / (len(left) + len(right))
        clusters[a] = _join(left, right, similarity_KK)
        # Cluster b is now part of a: its row and column are never chosen again.
        similarity_CC[a], similarity_CC[:, a] = merged_C, merged_C
        similarity_CC[b], similarity_CC[:, b] = -np.inf, -np.inf
        similarity_CC[a, a] = -np.inf
    return next(iter(clusters.values()), [])


def _join(left: list[int], right: list[int], similarity_KK: np.ndarray) -> list[int]:
    ways = [(one, other) for one in (left, left[::-1]) for other in (right, right[::-1])]
    one, other = max(ways, key=lambda way: similarity_KK[way[0][-1], way[1][0]])
    return one + other


def _divide(above: np.ndarray, below: np.ndarray, otherwise: float) -> np.ndarray:
    """The quotient `above` / `below`, but `otherwise` where `below` is 0."""
    out = np.full(above.shape, otherwise, dtype=np.float64)
    np.divide(above, below, out=out, where=below > 0)
    return out
