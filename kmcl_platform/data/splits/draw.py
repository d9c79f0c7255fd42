"""From rows to a manifest: identical pictures are kept together or left out, and missing splits are drawn.

Legend of shapes: N rows, K classes.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kmcl_platform.data.manifest.class_names import find_similar_names
from kmcl_platform.data.manifest.manifest import Manifest, build_manifest
from kmcl_platform.data.manifest.table_errors import Fault
from kmcl_platform.data.progress import Progress, silent
from kmcl_platform.data.splits.identical_pictures import find_identical
from kmcl_platform.data.splits.near_copies import join_near_copies
from kmcl_platform.data.splits.stratified_split import carve_split
from kmcl_platform.errors import DataError
from kmcl_platform.messages import show_value

DUPLICATES = ("keep", "group", "drop")
_PROTECTION = {"train": 0, "val": 1, "test": 2}
"""Of two splits that have the same picture, the one with the higher number keeps it."""


class Draw(NamedTuple):
    """One split that is drawn from `train`."""

    name: str
    fraction: float
    """Share of the images of `train`, above 0 and below 1."""
    seed: int


def draw_manifest(
    *,
    name: str,
    version: str,
    class_names: Sequence[str],
    splits: Sequence[str],
    images: Sequence[str] | Sequence[bytes],
    targets_NK: np.ndarray,
    root: Path | None,
    draws: Sequence[Draw] = (),
    groups: Sequence[str] | None = None,
    duplicates: str = "group",
    near_duplicates: bool = False,
    notes: list[Fault] | None = None,
    progress: Progress = silent,
) -> Manifest:
    """Treat identical pictures, draw splits, and build the manifest.

    A picture is identical to another if its file has the same bytes. With `near_duplicates`, one picture that was
    stored again in another format, quality or size counts as a copy too, see `near_copies`.

    - `keep`: nothing is compared. Copies may be drawn into different splits.
    - `group`: copies are drawn into one split. Where the dataset's own splits have a picture in two of them, the copies
      in the less protected one (`train` before `val` before `test`) are left out: `test` stays as it was published,
      and a score on it does not count what was trained on. Labels stay as they are.
    - `drop`: one row of each picture stays, the first one in the most protected split. Its labels are the union of
      those that the copies in that split have: positive if one is, otherwise negative if one is.

    Args:
        splits: N names. New splits are drawn from `train`.
        images: N paths or N encoded images.
        targets_NK: 1 positive, 0 negative, -1 unknown.
        root: the folder that relative paths start from; None: the current folder.
        draws: splits to draw, one after the other.
        groups: N names of groups, such as patients. All rows of a group are drawn into one split.
        duplicates: one of `DUPLICATES`.
        near_duplicates: whether all images are decoded to find near copies. It has no effect with `keep`.
        notes: receives remarks about identical pictures: copies that are left out, and labels that differ.
        progress: is called while files are compared.

    Raises:
        FaultyTable: image files cannot be read.
        DataError: `duplicates` is unknown, a split cannot be drawn, or all images of a split are copies of images in a
            more protected one.
    """
    if duplicates not in DUPLICATES:
        raise DataError(f"duplicates: got {show_value(duplicates)}; valid: {', '.join(DUPLICATES)}")
    # Each link is a column whose equal values must stay in one split: groups of the user, and groups of copies.
    links: list[Sequence[object]] = [] if groups is None else [groups]
    kept = list(range(len(splits)))
    if duplicates != "keep":
        first_N = find_identical(images, root, name, progress)
        # Exact copies first: of each of their groups, only one picture has to be decoded.
        if near_duplicates:
            first_N = join_near_copies(first_N, images, root, progress)
        if (first_N != np.arange(len(splits))).any():
            kept, targets_NK = _leave_out(
                first_N, splits, images, class_names, targets_NK, drop=duplicates == "drop", notes=notes
            )
            links.append(first_N.tolist())
            _check_splits(name, splits, kept)
    if notes is not None:
        notes += find_similar_names(class_names)
    splits = [splits[row] for row in kept]
    targets_NK = targets_NK[kept]
    joined = _join([[link[row] for row in kept] for link in links]) if links else None
    for draw in draws:
        splits = carve_split(splits, targets_NK, name=draw.name, fraction=draw.fraction, seed=draw.seed, groups=joined)
    return build_manifest(
        name=name,
        version=version,
        class_names=class_names,
        splits=splits,
        images=[images[row] for row in kept],  # type: ignore[arg-type]
        targets=targets_NK,
        root=root,
    )


def _leave_out(
    first_N: np.ndarray,
    splits: Sequence[str],
    images: Sequence[str] | Sequence[bytes],
    class_names: Sequence[str],
    targets_NK: np.ndarray,
    *,
    drop: bool,
    notes: list[Fault] | None,
) -> tuple[list[int], np.ndarray]:
    """The rows that stay, in order, and the targets of all rows."""
    notes = [] if notes is None else notes
    targets_NK = targets_NK.copy()
    stays_N = np.ones(len(splits), dtype=bool)
    rows_of: dict[int, list[int]] = {}
    for row, first in enumerate(first_N.tolist()):
        rows_of.setdefault(first, []).append(row)
    for rows in rows_of.values():
        if len(rows) == 1:
            continue
        # The split that keeps the picture. Copies within it are not a leak, so only `drop` removes them.
        protected = max((splits[row] for row in rows), key=_PROTECTION.__getitem__)
        inside = [row for row in rows if splits[row] == protected]
        kept = inside[0]
        differing_K = (targets_NK[rows] != targets_NK[kept]).any(axis=0)
        if differing_K.any():
            shown = ", ".join(show_value(class_names[k], 40) for k in np.flatnonzero(differing_K)[:5])
            other = next(row for row in rows if (targets_NK[row] != targets_NK[kept]).any())
            result = f"labels of the copies in {protected} are joined" if drop else "each copy keeps its labels"
            message = f"{_show(images[kept])} and {_show(images[other])} differ in {shown}; {result}"
            notes.append(Fault("copies with different labels", message))
        for row in rows:
            if splits[row] != protected or (drop and row != kept):
                stays_N[row] = False
                message = f"{_show(images[row])} in {splits[row]}: the picture of {_show(images[kept])} in {protected}"
                kind = "copy in the same split" if splits[row] == protected else "copy in another split"
                notes.append(Fault(f"{kind} left out", message))
        if drop:
            # The largest target: positive, otherwise negative, otherwise unknown.
            targets_NK[kept] = targets_NK[inside].max(axis=0)
    return np.flatnonzero(stays_N).tolist(), targets_NK


def _check_splits(where: str, splits: Sequence[str], kept: Sequence[int]) -> None:
    """Refuse to leave out all rows of a split: a search could not use the manifest, and would fail much later."""
    remaining = {splits[row] for row in kept}
    for split in sorted(set(splits) - remaining):
        raise DataError(
            f"{where}: split {split!r}: got {list(splits).count(split)} images, all of them copies of images in "
            f"{' and '.join(sorted(remaining))}; valid: images of its own in each split, or --duplicates keep"
        )


def _show(image: str | bytes) -> str:
    return show_value(image, 100) if isinstance(image, str) else f"an image of {len(image)} bytes"


def _join(links: Sequence[Sequence[object]]) -> list[str]:
    """N names of groups: rows that have the same value in any of the links are in one group."""
    parents = list(range(len(links[0])))

    def find(row: int) -> int:
        while parents[row] != row:
            # Path halving: each look-up makes the path to the root shorter, so all of them together take nearly linear
            # time.
            parents[row] = parents[parents[row]]
            row = parents[row]
        return row

    for link in links:
        first: dict[object, int] = {}
        for row, value in enumerate(link):
            # Each row is joined with the first row of the same value, and so with all of them.
            parents[find(row)] = find(first.setdefault(value, row))
    # A single link keeps its own names. The draw depends on them, so it is the same as before there were other links.
    return [str(link) for link in links[0]] if len(links) == 1 else [f"{find(row):09d}" for row in range(len(parents))]
