"""How the labels of a manifest are distributed: imbalance of classes, labels per image, dependency, drift of splits.

Unknown labels are left out. A share is a share of the known labels, and a pair of classes is counted over the images
where both labels are known.

Legend of shapes: N images, K classes.
"""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from kmcl_platform.data.manifest.manifest import SPLITS, Manifest
from kmcl_platform.data.manifest.split_counts import SplitSummary, summarise
from kmcl_platform.data.report.cooccurrence import Cooccurrence, count_cooccurrence

MIN_EXPECTED = 5
"""A pair of classes needs this expected count in each of its four cells: both, one, the other, neither.

With fewer images, chance alone produces strong dependencies (Cochran's rule).
"""

SIGNIFICANCE = 0.05
"""Probability of one or more false findings, if all classes are independent or both splits are alike (Bonferroni)."""

DEPENDENCY_SPLITS = ("train", "val")
"""The splits whose images are counted for pairs of classes: those that a search sees. `test` stays sealed."""


@dataclass(frozen=True)
class SplitLabels:
    """The labels of one split of N images and K classes."""

    known: tuple[int, ...]
    """Known labels of each class."""
    positives: tuple[int, ...]
    """Positive labels of each class."""
    images_by_labels: tuple[int, ...]
    """At index n, the number of images with n positive labels."""

    def share(self, k: int) -> float | None:
        """The share of positives among the known labels of class `k`. None: no label is known."""
        return self.positives[k] / self.known[k] if self.known[k] else None

    def imbalance(self) -> float | None:
        """Positives of the most frequent class / those of the rarest class that has any. None: no label is positive."""
        counts = [count for count in self.positives if count]
        return max(counts) / min(counts) if counts else None

    def missing(self) -> tuple[int, ...]:
        """The classes without a positive label."""
        return tuple(k for k, count in enumerate(self.positives) if not count)


@dataclass(frozen=True)
class Pair:
    """A pair of classes, over the images where both labels are known."""

    first: int
    """Index of one class."""
    second: int
    """Index of the other class, larger than `first`."""
    both: int
    """Images where both are positive."""
    expected: float
    """Expected value of `both` for independent classes."""
    lift: float
    """`both` / `expected`, which is P(ab) / (P(a) P(b))."""
    deviation: float
    """`both` - `expected`, in standard deviations of independent classes (the adjusted residual)."""


@dataclass(frozen=True)
class Drift:
    """The difference between the frequencies of a class in `val` and in `train` (a test of two proportions)."""

    index: int
    """Index of the class."""
    train: float
    """Share of positives among the known labels of `train`."""
    val: float
    """Share of positives among the known labels of `val`."""
    deviation: float
    """`val` - `train`, in standard deviations of two splits that are alike."""
    significant: bool
    """Whether the deviation is too large to be chance, given the number of classes."""


@dataclass(frozen=True)
class Description:
    """The label statistics of a manifest, which the page shows."""

    summaries: dict[str, SplitSummary]
    """Counts of each split, and of `all`."""
    splits: dict[str, SplitLabels]
    """Each split that has images."""
    cooccurrence: Cooccurrence
    """Counts of pairs over `DEPENDENCY_SPLITS`."""
    threshold: float
    """A pair is significant if its deviation is at least this number of standard deviations."""
    together: tuple[Pair, ...]
    """Significant pairs that occur together more often than by chance, the largest lift first."""
    apart: tuple[Pair, ...]
    """Significant pairs that occur together less often than by chance, the smallest lift first."""
    drifts: tuple[Drift, ...]
    """The significant ones first, then by deviation, the largest first. Empty: `train` or `val` has no images."""


def describe(manifest: Manifest) -> Description:
    """Compute everything that the page shows."""
    targets = {split: manifest.targets(split) for split in SPLITS}
    splits = {split: _split_labels(targets_NK) for split, targets_NK in targets.items() if len(targets_NK)}
    counted = count_cooccurrence(np.concatenate([targets[split] for split in DEPENDENCY_SPLITS]))
    num_classes = len(manifest.class_names)
    threshold = _threshold(num_classes * (num_classes - 1) // 2)
    significant = [pair for pair in _well_counted(counted) if abs(pair.deviation) >= threshold]
    return Description(
        summaries=summarise(manifest),
        splits=splits,
        cooccurrence=counted,
        threshold=threshold,
        # Among equal lifts, such as 0 for pairs that never occur together, the pair with the largest expected count is
        # first.
        together=tuple(sorted((p for p in significant if p.deviation > 0), key=lambda p: (-p.lift, -p.expected))),
        apart=tuple(sorted((p for p in significant if p.deviation < 0), key=lambda p: (p.lift, -p.expected))),
        drifts=_drifts(splits["train"], splits["val"]) if {"train", "val"} <= splits.keys() else (),
    )


def _split_labels(targets_NK: np.ndarray) -> SplitLabels:
    positive_NK = targets_NK == 1
    return SplitLabels(
        known=tuple((targets_NK >= 0).sum(axis=0).tolist()),
        positives=tuple(positive_NK.sum(axis=0).tolist()),
        images_by_labels=tuple(np.bincount(positive_NK.sum(axis=1)).tolist()),
    )


def _threshold(comparisons: int) -> float:
    """The number of standard deviations that chance exceeds in any comparison with a probability of `SIGNIFICANCE`.

    Bonferroni's correction: each of the two-sided comparisons has the probability `SIGNIFICANCE` / `comparisons`.
    """
    # A single class has no pair to compare: `max` avoids the division by 0.
    return NormalDist().inv_cdf(1 - SIGNIFICANCE / 2 / max(1, comparisons))


def _well_counted(counted: Cooccurrence) -> list[Pair]:
    """The pairs with enough images for a statement."""
    # The upper half of the table: each pair once, and no class with itself.
    enough_KK = np.triu(counted.smallest_expected_KK() >= MIN_EXPECTED, k=1)
    expected_KK, lift_KK, deviation_KK = counted.expected_KK(), counted.lift_KK(), counted.deviation_KK()
    return [
        Pair(
            a, b, int(counted.both_KK[a, b]), float(expected_KK[a, b]), float(lift_KK[a, b]), float(deviation_KK[a, b])
        )
        for a, b in np.argwhere(enough_KK).tolist()
    ]


def _drifts(train: SplitLabels, val: SplitLabels) -> tuple[Drift, ...]:
    threshold = _threshold(len(train.positives))
    drifts: list[Drift] = []
    for k in range(len(train.positives)):
        before, after = train.share(k), val.share(k)
        if before is None or after is None:
            continue
        # If both splits are alike, the share of all their images together is the best estimate of the common one.
        pooled = (train.positives[k] + val.positives[k]) / (train.known[k] + val.known[k])
        spread = (pooled * (1 - pooled) * (1 / train.known[k] + 1 / val.known[k])) ** 0.5
        deviation = (after - before) / spread if spread else 0.0
        # The same rule as for pairs: the normal distribution is a good approximation only of larger counts.
        enough = min(pooled, 1 - pooled) * min(train.known[k], val.known[k]) >= MIN_EXPECTED
        drifts.append(Drift(k, before, after, deviation, significant=enough and abs(deviation) >= threshold))
    return tuple(sorted(drifts, key=lambda drift: (not drift.significant, -abs(drift.deviation))))
