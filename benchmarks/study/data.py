"""The data of the study: the features of a frozen backbone, and manifests with fewer pictures or labels."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from benchmarks.study.settings import Condition
from kmcl_platform.config.trial_config import DataConfig, TrialConfig
from kmcl_platform.data.loading.dataset import ImageDataset
from kmcl_platform.data.loading.own_features import rows_of_split
from kmcl_platform.data.manifest.manifest import SPLITS, Manifest, checked_manifest
from kmcl_platform.data.manifest.parquet import read_manifest, write_manifest
from kmcl_platform.data.splits.stratified_split import carve
from kmcl_platform.files.atomic_write import atomic_file
from kmcl_platform.method.networks.backbone import Backbone
from kmcl_platform.training.build import build_backbone, build_dataset

_BATCH = 128


def compute_features(config: TrialConfig, manifest: Manifest, path: Path) -> None:
    """Write the backbone's features of all rows of a manifest, in its order; (N, D) float32 in a NumPy file."""
    if path.exists():
        return
    backbone: Backbone = build_backbone(config).eval()
    features_ND = np.empty((manifest.table.num_rows, backbone.num_features), dtype=np.float32)
    for split in SPLITS:
        images: ImageDataset = build_dataset(config, manifest, split)
        rows_N = rows_of_split(manifest, split)
        for start in range(0, len(rows_N), _BATCH):
            chosen = list(range(start, min(start + _BATCH, len(rows_N))))
            with torch.no_grad():
                pixels_B3HW, _ = images.load(chosen)
                features_ND[rows_N[chosen]] = backbone(pixels_B3HW).numpy()
    with atomic_file(path) as draft, draft.open("wb") as file:
        np.save(file, features_ND)


def write_condition(
    manifest: Manifest, condition: Condition, folder: Path, features_ND: np.ndarray | None
) -> DataConfig:
    """Write the manifest and the features of one condition; returns the data of its trials.

    `val` and `test` keep all pictures and labels. Which pictures and labels are left does not depend on the arm.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path, features = folder / "manifest.parquet", folder / "features.npy"
    targets_NK = np.zeros((manifest.table.num_rows, len(manifest.class_names)), dtype=np.int8)
    for split in SPLITS:
        targets_NK[rows_of_split(manifest, split)] = manifest.targets(split)
    train_N = rows_of_split(manifest, "train")
    keep_N = np.ones(len(targets_NK), dtype=bool)
    if condition.pictures < 1:
        keep_N[train_N] = carve(targets_NK=targets_NK[train_N], fraction=condition.pictures, seed=0, what="the study")
    if condition.labels < 1:
        missing_NK = np.random.default_rng(0).random(targets_NK.shape) >= condition.labels
        is_train_N1 = np.isin(np.arange(len(targets_NK)), train_N)[:, None]
        targets_NK[missing_NK & is_train_N1 & (targets_NK == 1)] = 0
    if not path.exists():
        rows = _with_absolute_paths(manifest).filter(keep_N)
        changed = checked_manifest(
            "the study", manifest.name, "1", manifest.class_names, rows, targets_NK[keep_N], None
        )
        write_manifest(changed, path)
    if features_ND is not None and not features.exists():
        with atomic_file(features) as draft, draft.open("wb") as file:
            np.save(file, features_ND[keep_N])
    own = None if features_ND is None else str(features)
    return DataConfig(source=str(path), features=own, batch_size=condition.batch_size)


def _with_absolute_paths(manifest: Manifest) -> pa.Table:
    """The rows of a manifest, for one that is written to another folder."""
    if manifest.root is None or "image" not in manifest.table.column_names:
        return manifest.table
    root = manifest.root.absolute()
    images = [str(root / image) for image in manifest.table["image"].to_pylist()]
    place = manifest.table.column_names.index("image")
    return manifest.table.set_column(place, "image", pa.array(images, pa.string()))


def open_condition(data: DataConfig) -> Manifest:
    return read_manifest(Path(data.source))
