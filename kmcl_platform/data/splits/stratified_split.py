"""A draw of a validation or test split that keeps the share of each class, and keeps groups (patients) whole.

Legend of shapes: N images, K classes, G groups.
"""

from collections.abc import Sequence

import numpy as np

from kmcl_platform.errors import DataError


def carve(
    targets_NK: np.ndarray, *, fraction: float, seed: int, groups: Sequence[str] | None = None, what: str
) -> np.ndarray:
    """Draw about `fraction` of N images so that each class keeps its share: iterative stratification.

    Groups with the rarest class are assigned first, each to the side that lacks most of that class (Sechidis,
    Tsoumakas and Vlahavas, "On the stratification of multi-label data", 2011). A class that two groups have is on both
    sides, even if its share would be less than one image. The same arguments give the same draw on every machine.

    Args:
        targets_NK: 1 positive; anything else is not counted.
        fraction: share of the images to draw, above 0 and below 1.
        seed: 0 or more.
        groups: N names. All images of a group are drawn, or none of them. None: every image is a group of its own.
        what: what is drawn, for messages.

    Returns:
        drawn_N, bool.

    Raises:
        DataError: the fraction is out of its range, or there are too few groups to draw one and leave one.
    """
    if not 0 < fraction < 1:
        raise DataError(f"{what}: fraction: got {fraction}; valid: above 0 and below 1")
    num_images = len(targets_NK)
    group_N = np.arange(num_images) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    num_groups = int(group_N.max()) + 1 if num_images else 0
    if num_groups < 2:
        unit = "images" if groups is None else "groups"
        raise DataError(f"{what}: got {num_groups} {unit} to draw from; valid: two or more")
    sizes_G = np.bincount(group_N, minlength=num_groups)
    counts_GK = np.zeros((num_groups, targets_NK.shape[1]), dtype=np.int64)
    np.add.at(counts_GK, group_N, targets_NK == 1)
    drawn_G = _deal_groups(counts_GK, sizes_G, fraction, seed)
    # In a tiny split, rounding may leave one side without a group: one is then moved to it.
    if not drawn_G.any():
        drawn_G[int(sizes_G.argmin())] = True
    elif drawn_G.all():
        drawn_G[int(sizes_G.argmax())] = False
    drawn_N: np.ndarray = drawn_G[group_N]
    return drawn_N


def _deal_groups(counts_GK: np.ndarray, sizes_G: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Which groups are drawn, drawn_G."""
    rng = np.random.Generator(np.random.PCG64([seed]))
    # Sorting random keys is a shuffle that never changes. NumPy's own shuffle may change between its versions.
    order_G = np.argsort(rng.integers(0, 2**62, len(sizes_G)), kind="stable")
    totals_K = counts_GK.sum(axis=0)
    wanted_K = fraction * totals_K
    # A class that two groups have can be on both sides. So the draw wants at least one of it, also where its share is
    # less.
    shared_K = (counts_GK > 0).sum(axis=0) >= 2
    wanted_K[shared_K] = np.maximum(wanted_K[shared_K], 1)
    # The counts that each side still needs. Row 0 is the rest, row 1 the draw.
    lacking_2K = np.stack([totals_K - wanted_K, wanted_K])
    lacking_2 = np.array([(1 - fraction) * sizes_G.sum(), fraction * sizes_G.sum()])
    drawn_G = np.zeros(len(sizes_G), dtype=bool)
    open_G = np.ones(len(sizes_G), dtype=bool)

    def deal(group: int, lacking: np.ndarray) -> None:
        # A tie in the class goes to the side that lacks more images. A tie in both goes to the rest, side 0.
        side = int(lacking[1] > lacking[0] or (lacking[1] == lacking[0] and lacking_2[1] > lacking_2[0]))
        lacking_2K[side] -= counts_GK[group]
        lacking_2[side] -= sizes_G[group]
        drawn_G[group] = side == 1
        open_G[group] = False

    left_K = totals_K.copy()
    while left_K.any():
        # The class with the fewest labels left. Later, its few images could no longer be chosen.
        k = int(np.where(left_K > 0, left_K, np.iinfo(np.int64).max).argmin())
        for group in order_G[open_G[order_G] & (counts_GK[order_G, k] > 0)]:
            deal(int(group), lacking_2K[:, k])
        left_K = counts_GK[open_G].sum(axis=0)
    # What remains has no positive label, so only the numbers of images count.
    for group in order_G[open_G[order_G]]:
        deal(int(group), lacking_2)
    return drawn_G


def carve_split(
    splits: Sequence[str],
    targets_NK: np.ndarray,
    *,
    name: str,
    fraction: float,
    seed: int,
    groups: Sequence[str] | None = None,
) -> list[str]:
    """The N splits, of which a draw from `train` has become split `name`.

    Raises:
        DataError: as `carve`.
    """
    train_rows = np.flatnonzero(np.asarray(splits) == "train")
    drawn = carve(
        targets_NK[train_rows],
        fraction=fraction,
        seed=seed,
        groups=None if groups is None else [groups[int(row)] for row in train_rows],
        what=f"split {name!r} drawn out of 'train'",
    )
    result = list(splits)
    for row in train_rows[drawn]:
        result[row] = name
    return result
