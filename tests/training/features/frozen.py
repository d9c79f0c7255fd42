"""Pretrained weights, manifests and runs of trials for the tests of frozen backbones."""

from pathlib import Path

import timm
import torch
from safetensors.torch import save_file

from kmcl_platform.config.reports.epoch_report import EpochReport
from kmcl_platform.config.trial_config import Scalar, TrialConfig
from kmcl_platform.data.manifest.manifest import Manifest, build_manifest
from kmcl_platform.data.manifest.parquet import read_manifest
from kmcl_platform.training.fit import fit
from kmcl_platform.training.workers.distributed import Workers
from tests.training.trials import ALONE

BACKBONE = "test_byobnet"


def write_weights(path: Path, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    save_file(timm.create_model(BACKBONE, num_classes=0).state_dict(), path)
    return path


def frozen_config(weights: Path, **values: Scalar) -> TrialConfig:
    """A trial that takes a second; names in `values` have `__` in the place of a dot."""
    base: dict[str, Scalar] = {
        "data.image_size": 32,
        "data.batch_size": 32,
        "model.backbone": BACKBONE,
        "model.backbone_mode": "frozen",
        "model.pretrained_file": str(weights),
        "optim.lr": 1e-2,
        "optim.ema_decay": 0.9,
        "num_epochs": 3,
    }
    return TrialConfig().with_values(base | {name.replace("__", "."): value for name, value in values.items()})


def picture_files(digits: Path, folder: Path, num: int = 20) -> Manifest:
    """A manifest of picture files: the first training and validation mosaics."""
    manifest = read_manifest(digits)
    folder.mkdir(parents=True, exist_ok=True)
    names, splits, targets = [], [], []
    for split in ("train", "val"):
        for row in range(num):
            names.append(f"{split}-{row}.png")
            splits.append(split)
            (folder / names[-1]).write_bytes(manifest.encoded_image(split, row))
        targets.append(manifest.targets(split)[:num])
    return build_manifest(
        name="files",
        version="1",
        class_names=manifest.class_names,
        splits=splits,
        images=names,
        targets=torch.cat([torch.from_numpy(part.copy()) for part in targets]).numpy(),
        root=folder,
    )


def run(
    config: TrialConfig,
    manifest: Manifest,
    folder: Path,
    *,
    stop_after: int = 99,
    workers: Workers = ALONE,
    name: str = "trial",
) -> list[EpochReport]:
    reports: list[EpochReport] = []

    def report(result: EpochReport) -> bool:
        reports.append(result)
        return result.epoch < stop_after

    features = folder / "features"
    fit(config, manifest, checkpoints=folder / name, report=report, workers=workers, features=features)
    return reports


def numbers(reports: list[EpochReport]) -> list[dict[str, float]]:
    return [dict(report.metrics) for report in reports]
