"""The four settings of `benchmarks.digits_arms`: their data, and the names of their arms."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from kmcl_platform.data.builtin.digits import build_digits
from kmcl_platform.data.manifest.manifest import Manifest, build_manifest

SEEDS = (101, 102, 103, 104, 105)
COMPARISONS = (("kmcl", "bce"), ("kmcl", "asymmetric"), ("kmcl_per_feature", "kmcl"))
SHOWN = {"bce": "BCE", "asymmetric": "asymmetric", "kmcl": "KMCL", "kmcl_per_feature": "KMCL per feature"}
RARE = slice(5, 10)
MISSED = 0.03
"""If the control is better than the tuned arm by more validation mAP than this, the search missed a better value."""


def build_plain() -> Manifest:
    """4000 training images, 1000 to validate and 1000 to test, unchanged."""
    return build_digits()


def build_few() -> Manifest:
    """500 training images."""
    return build_digits(num_train=500)


def build_imbalanced() -> Manifest:
    """Of the training images with any of the classes 5 to 9, only every tenth is used."""
    full = build_digits()
    rare_N = full.targets("train")[:, RARE].any(axis=1)
    kept = np.flatnonzero(~rare_N).tolist() + np.flatnonzero(rare_N)[::10].tolist()
    return select_rows(full, {"train": sorted(kept), "val": None, "test": None})


def build_crowded() -> Manifest:
    """Only mosaics with 3 or 4 different digits, in every split."""
    full = build_digits(num_train=10_000, num_val=3500, num_test=3500)
    sizes = {"train": 3000, "val": 1000, "test": 1000}
    # The larger draw above has enough such mosaics for each size.
    crowded = {split: np.flatnonzero(full.targets(split).sum(axis=1) >= 3)[:size] for split, size in sizes.items()}
    return select_rows(full, {split: rows.tolist() for split, rows in crowded.items()})


STOPS_EARLY = {"kind": "successive_halving", "min_epochs": 1, "reduction_factor": 4, "allow_early_rungs": True}
SETTINGS: dict[str, tuple[Callable[[], Manifest], int, dict[str, Any]]] = {
    "plain": (build_plain, 8, STOPS_EARLY),
    # An epoch has 7 steps here, and averaged weights mean little before the last one: early stopping would be luck.
    "few": (build_few, 24, {"kind": "none"}),
    "imbalanced": (build_imbalanced, 8, STOPS_EARLY),
    "crowded": (build_crowded, 8, STOPS_EARLY),
}
"""The data of each setting, its number of epochs, and its scheduler."""


def select_rows(manifest: Manifest, rows: dict[str, list[int] | None]) -> Manifest:
    """The given rows of each split. None: all of them."""
    parts = {s: manifest.split(s) if some is None else manifest.split(s).take(some) for s, some in rows.items()}
    table = pa.concat_tables(parts.values())
    return build_manifest(
        name=manifest.name,
        version=manifest.version,
        class_names=manifest.class_names,
        splits=table["split"].to_pylist(),
        images=table["bytes"].to_pylist(),
        targets=np.array(table["targets"].to_pylist()),
    )


def count_data(manifest: Manifest) -> dict[str, Any]:
    """Images of each split, labels per image, and positives of each class in training."""
    targets_NK = manifest.targets("train")
    return {
        "images": {split: manifest.split(split).num_rows for split in ("train", "val", "test")},
        "labels_per_image": float(targets_NK.sum(axis=1).mean()),
        "positives": targets_NK.sum(axis=0).tolist(),
    }
