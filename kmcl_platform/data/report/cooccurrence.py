"""How often classes are positive on the same images, against how often they would be if they were independent.

Shape suffixes: N images, K classes. Each element of a KK table is over the images where both classes are known.
"""

from dataclasses import dataclass

import numpy as np

_ROWS = 2**16
"""Images multiplied at once: float32 counts up to 2**24 exactly, and the copies stay small."""


@dataclass(frozen=True)
class Cooccurrence:
    """Counts of pairs of classes."""

    known_KK: np.ndarray
    """int64: images where both are known; symmetric."""
    positive_KK: np.ndarray
    """int64: of these, images where the class of the row is positive."""
    both_KK: np.ndarray
    """int64: of these, images where both are positive; symmetric."""

    def expected_KK(self) -> np.ndarray:
        """Images where both would be positive if they were independent, float64; 0 where nothing is known."""
        return _divide(self.positive_KK * self.positive_KK.T.astype(np.float64), self.known_KK, 0.0)

    def lift_KK(self) -> np.ndarray:
        """P(ab) / (P(a) P(b)), float64: 1 where independent; NaN where either is never positive."""
        return _divide(self.both_KK, self.expected_KK(), np.nan)

    def smallest_expected_KK(self) -> np.ndarray:
        """The smallest count expected in a cell of the pair's table: both, only one, only the other, neither."""
        rare_KK = np.minimum(self.positive_KK, self.known_KK - self.positive_KK).astype(np.float64)
        return _divide(rare_KK * rare_KK.T, self.known_KK, 0.0)

    def deviation_KK(self) -> np.ndarray:
        """The adjusted residual: both less expected, in standard deviations under independence; 0 where undefined.

        Agresti, Categorical Data Analysis, 3.3: (n_ab - e) / sqrt(e (1 - P(a)) (1 - P(b))).
        """
        absent_KK = 1 - _divide(self.positive_KK, self.known_KK, 0.0)
        expected_KK = self.expected_KK()
        return _divide(self.both_KK - expected_KK, np.sqrt(expected_KK * absent_KK * absent_KK.T), 0.0)

    def correlation_KK(self) -> np.ndarray:
        """The phi coefficient of the two labels, in [-1, 1]; 0 where undefined."""
        return _divide(self.deviation_KK(), np.sqrt(self.known_KK), 0.0)


def count_cooccurrence(targets_NK: np.ndarray) -> Cooccurrence:
    """Count pairs.

    Args:
        targets_NK: 1 positive, 0 negative, -1 unknown.
    """
    num_classes = targets_NK.shape[1]
    known_KK, positive_KK, both_KK = (np.zeros((num_classes, num_classes), dtype=np.int64) for _ in range(3))
    for start in range(0, len(targets_NK), _ROWS):
        rows_NK = targets_NK[start : start + _ROWS]
        known_NK, present_NK = (rows_NK >= 0).astype(np.float32), (rows_NK == 1).astype(np.float32)
        both_KK += (present_NK.T @ present_NK).astype(np.int64)
        if known_NK.all():
            known_KK += len(rows_NK)
            positive_KK += present_NK.sum(axis=0).astype(np.int64)[:, None]
        else:
            known_KK += (known_NK.T @ known_NK).astype(np.int64)
            positive_KK += (present_NK.T @ known_NK).astype(np.int64)
    return Cooccurrence(known_KK, positive_KK, both_KK)


def order_by_similarity(similarity_KK: np.ndarray) -> list[int]:
    """Classes in an order in which similar ones stand together: leaves of an average-linkage clustering.

    Two clusters are joined at those of their ends that are most alike.

    Args:
        similarity_KK: symmetric and finite.
    """
    similarity_CC = similarity_KK.astype(np.float64).copy()
    np.fill_diagonal(similarity_CC, -np.inf)
    clusters = {k: [k] for k in range(len(similarity_CC))}
    while len(clusters) > 1:
        a, b = sorted(divmod(int(similarity_CC.argmax()), len(similarity_CC)))
        left, right = clusters[a], clusters.pop(b)
        merged_C = (len(left) * similarity_CC[a] + len(right) * similarity_CC[b]) / (len(left) + len(right))
        clusters[a] = _join(left, right, similarity_KK)
        similarity_CC[a], similarity_CC[:, a] = merged_C, merged_C
        similarity_CC[b], similarity_CC[:, b] = -np.inf, -np.inf
        similarity_CC[a, a] = -np.inf
    return next(iter(clusters.values()), [])


def _join(left: list[int], right: list[int], similarity_KK: np.ndarray) -> list[int]:
    ways = [(one, other) for one in (left, left[::-1]) for other in (right, right[::-1])]
    one, other = max(ways, key=lambda way: similarity_KK[way[0][-1], way[1][0]])
    return one + other


def _divide(above: np.ndarray, below: np.ndarray, otherwise: float) -> np.ndarray:
    """`above` / `below`, and `otherwise` where `below` is 0."""
    out = np.full(above.shape, otherwise, dtype=np.float64)
    np.divide(above, below, out=out, where=below > 0)
    return out
