"""How the labels of a manifest are distributed: imbalance of classes, labels per image, dependency, drift of splits.

Unknown labels are left out of everything: a share is one of known labels, a pair of classes is counted over the images
where both are known.

Shape suffixes: N images, K classes.
"""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from kmcl_platform.data.manifest.manifest import SPLITS, Manifest
from kmcl_platform.data.manifest.split_counts import SplitSummary, summarise
from kmcl_platform.data.report.cooccurrence import Cooccurrence, count_cooccurrence

MIN_EXPECTED = 5
"""Of a pair's four cells (both, one, the other, neither), each is expected to hold as many images, or nothing is said
of the pair: with fewer, chance alone makes strong dependencies (Cochran's rule)."""

SIGNIFICANCE = 0.05
"""Chance that anything at all is called significant where classes are independent, or splits are alike (Bonferroni)."""

DEPENDENCY_SPLITS = ("train", "val")
"""Where classes are looked at in pairs: what a search sees. `test` stays sealed."""


@dataclass(frozen=True)
class SplitLabels:
    """The labels of one split of N images and K classes."""

    known: tuple[int, ...]
    """Known labels of each class."""
    positives: tuple[int, ...]
    """Positive labels of each class."""
    images_by_labels: tuple[int, ...]
    """At place n the images with n positive labels; nothing where there are no images."""

    def share(self, k: int) -> float | None:
        """Positives among the known labels of class `k`; none where no label is known."""
        return self.positives[k] / self.known[k] if self.known[k] else None

    def imbalance(self) -> float | None:
        """Positives of the most frequent class by those of the rarest that has one; none where there is no positive."""
        there = [count for count in self.positives if count]
        return max(there) / min(there) if there else None

    def missing(self) -> tuple[int, ...]:
        """Classes without a positive label."""
        return tuple(k for k, count in enumerate(self.positives) if not count)


@dataclass(frozen=True)
class Pair:
    """Two classes, over the images where both are known."""

    first: int
    second: int
    both: int
    """Images where both are positive."""
    expected: float
    """As many would be if the two were independent."""
    lift: float
    """`both` by `expected`: P(ab) / (P(a) P(b))."""
    deviation: float
    """`both` less `expected`, in standard deviations of independent classes (the adjusted residual)."""


@dataclass(frozen=True)
class Drift:
    """How much more or less frequent a class is in `val` than in `train`."""

    index: int
    train: float
    """Share of known labels."""
    val: float
    deviation: float
    """`val` less `train`, in standard deviations of splits that are alike."""
    significant: bool


@dataclass(frozen=True)
class Description:
    """What a manifest's labels are like."""

    summaries: dict[str, SplitSummary]
    """Each split, and `all`."""
    splits: dict[str, SplitLabels]
    """Each split that has images."""
    cooccurrence: Cooccurrence
    """Over `DEPENDENCY_SPLITS`."""
    threshold: float
    """Standard deviations beyond which a pair is significant."""
    together: tuple[Pair, ...]
    """Significant pairs seen together more often than by chance, the largest lift first."""
    apart: tuple[Pair, ...]
    """Significant pairs seen together less often than by chance, the smallest lift first."""
    drifts: tuple[Drift, ...]
    """The largest deviation first; none where `train` or `val` lacks images."""


def describe(manifest: Manifest) -> Description:
    """Count everything that the page shows."""
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
    """Standard deviations that chance exceeds in any of so many comparisons with a probability of `SIGNIFICANCE`."""
    return NormalDist().inv_cdf(1 - SIGNIFICANCE / 2 / max(1, comparisons))


def _well_counted(counted: Cooccurrence) -> list[Pair]:
    """The pairs that are known on enough images."""
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
        pooled = (train.positives[k] + val.positives[k]) / (train.known[k] + val.known[k])
        spread = (pooled * (1 - pooled) * (1 / train.known[k] + 1 / val.known[k])) ** 0.5
        deviation = (after - before) / spread if spread else 0.0
        enough = min(pooled, 1 - pooled) * min(train.known[k], val.known[k]) >= MIN_EXPECTED
        drifts.append(Drift(k, before, after, deviation, significant=enough and abs(deviation) >= threshold))
    return tuple(sorted(drifts, key=lambda drift: (not drift.significant, -abs(drift.deviation))))
