"""What a manifest contains, by split: images, labels per image, positives per class, unknown and missing labels."""

from dataclasses import dataclass

import numpy as np
from rich import box
from rich.markup import escape
from rich.table import Table

from kmcl_platform.data.manifest.manifest import SPLITS, Manifest, targets_to_numpy


@dataclass(frozen=True)
class SplitSummary:
    """The counts of one split of N images and K classes."""

    images: int
    labels_per_image: float
    """Mean number of positive labels; 0 if there are no images."""
    unknown_labels: int
    """Labels that are neither positive nor negative, over all images and classes."""
    all_negative_images: int
    """Images with neither a positive nor an unknown label."""
    positives: tuple[int, ...]
    """Positive labels of each class."""


def summarise(manifest: Manifest) -> dict[str, SplitSummary]:
    """The counts of each split, and of `all` together."""
    summaries = {split: _summarise(manifest.targets(split)) for split in SPLITS}
    everything = targets_to_numpy(manifest.table["targets"], len(manifest.class_names))
    return summaries | {"all": _summarise(everything)}


def _summarise(targets_NK: np.ndarray) -> SplitSummary:
    positives_K = (targets_NK == 1).sum(axis=0)
    return SplitSummary(
        images=len(targets_NK),
        # An empty split has the mean 0 instead of 0/0.
        labels_per_image=float(positives_K.sum() / max(1, len(targets_NK))),
        unknown_labels=int((targets_NK == -1).sum()),
        all_negative_images=int((targets_NK == 0).all(axis=1).sum()),
        positives=tuple(positives_K.tolist()),
    )


def to_table(manifest: Manifest) -> Table:
    """The counts as a table for a terminal."""
    summaries = summarise(manifest)
    table = Table(
        box=box.SIMPLE_HEAD,
        padding=0,
        show_edge=False,
        title=f"{escape(manifest.name)}: {manifest.table.num_rows:,} images, {len(manifest.class_names)} classes",
        title_justify="left",
    )
    table.add_column("")
    for split in summaries:
        table.add_column(split, justify="right", min_width=8)
    columns = list(summaries.values())
    table.add_row("images", *(f"{one.images:,}" for one in columns))
    table.add_row("labels per image", *(f"{one.labels_per_image:.2f}" for one in columns))
    table.add_row("unknown labels", *(f"{one.unknown_labels:,}" for one in columns))
    table.add_row("all-negative images", *(f"{one.all_negative_images:,}" for one in columns), end_section=True)
    for k, name in enumerate(manifest.class_names):
        table.add_row(f"positive: {escape(name)}", *(f"{one.positives[k]:,}" for one in columns))
    return table
