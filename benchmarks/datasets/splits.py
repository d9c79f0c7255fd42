"""Splits of a multilabel dataset: stratified by label, with pictures that look the same in one split."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SHARES = {"train": 0.7, "val": 0.15, "test": 0.15}
"""Share of the pictures in each split."""

Keys = tuple[bytes, ...]
"""Keys of a picture, each of its own kind. Pictures that share a key of one kind belong in one split."""


def looks(pixels: Image.Image) -> Keys:
    """Two keys for the look of a picture: its grey 16 x 16 thumbnail in 16 levels, and where that is above its mean."""
    grey = np.asarray(pixels.convert("L").resize((16, 16), Image.Resampling.BOX)).astype(int)
    return (grey // 16).astype(np.uint8).tobytes(), np.packbits(grey > grey.mean()).tobytes()


def group_by_keys(keys: Sequence[Keys]) -> NDArray[np.int64]:
    """A group number for each picture. Pictures that share a key, or are connected by others, have the same."""
    parent = list(range(len(keys)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    first: dict[tuple[int, bytes], int] = {}
    for index, of_picture in enumerate(keys):
        for kind, key in enumerate(of_picture):
            parent[root(index)] = root(first.setdefault((kind, key), index))
    return np.unique([root(index) for index in range(len(keys))], return_inverse=True)[1]


def stratify(targets: NDArray[np.int8], groups: NDArray[np.int64], seed: int) -> list[str]:
    """The split of each picture: iterative stratification (Sechidis et al. 2011) of whole groups.

    The rarest label comes first. Each group that has the label goes to the split that lacks it most.

    Args:
        targets: 0 or 1, shape (pictures, classes).
        groups: group number of each picture. A group is never divided.
        seed: of the order of groups of equal size, and of the choice between splits that lack as much.
    """
    names = list(SHARES)
    share = np.array(list(SHARES.values()))
    count = int(groups.max()) + 1
    labels = np.zeros((count, targets.shape[1]), dtype=int)
    np.add.at(labels, groups, targets)
    size = np.bincount(groups, minlength=count)
    wanted = share[:, None] * labels.sum(0)  # shape (splits, classes)
    wanted_size = share * size.sum()
    rng = np.random.default_rng(seed)
    order = rng.permutation(count)
    # Large groups come first: the small ones can still level out what a large one has moved.
    order = order[np.argsort(-size[order], kind="stable")]
    open_groups = np.ones(count, dtype=bool)
    chosen = np.full(count, -1)
    while open_groups.any():
        left = labels[open_groups].sum(0)
        if left.max() == 0:
            members = [group for group in order if open_groups[group]]
            need = wanted_size
        else:
            label = int(np.argmin(np.where(left > 0, left, np.iinfo(int).max)))
            members = [group for group in order if open_groups[group] and labels[group, label]]
            need = wanted[:, label]  # a view: each choice below changes it
        for group in members:
            best = np.flatnonzero(need >= need.max() - 1e-9)
            best = best[wanted_size[best] >= wanted_size[best].max() - 1e-9]
            target = int(rng.choice(best))
            chosen[group] = target
            wanted[target] -= labels[group]
            wanted_size[target] -= size[group]
            open_groups[group] = False
    return [names[split] for split in chosen[groups]]
