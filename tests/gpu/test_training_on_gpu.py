"""Training on a real GPU: the loss is finite and falls, and a resumed trial continues. Skipped without CUDA."""

import math
from pathlib import Path

import pytest
import torch

from kmcl_platform.config.reports.epoch_report import EpochReport
from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.data.manifest.parquet import read_manifest
from kmcl_platform.training.fit import fit
from kmcl_platform.training.workers.distributed import join_workers

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")

CONFIG = TrialConfig().with_values(
    {
        "data.image_size": 32,
        "data.batch_size": 32,
        "model.kernels_per_class": 2,
        "optim.lr": 1e-2,
        "optim.ema_decay": 0.9,
        "num_epochs": 4,
    }
)


@pytest.fixture(scope="module")
def manifest(small_manifest: Path) -> Manifest:
    return read_manifest(small_manifest)


def run(config: TrialConfig, manifest: Manifest, folder: Path, *, stop_after: int = 99) -> list[EpochReport]:
    reports: list[EpochReport] = []

    def report(result: EpochReport) -> bool:
        reports.append(result)
        return result.epoch < stop_after

    fit(config, manifest, checkpoints=folder, report=report, workers=join_workers())
    return reports


@pytest.mark.parametrize("mixed_precision", [True, False])
def test_training_lowers_the_loss(mixed_precision: bool, manifest: Manifest, tmp_path: Path) -> None:
    reports = run(CONFIG.with_values({"optim.mixed_precision": mixed_precision}), manifest, tmp_path)
    losses = [report.metrics["train/loss"] for report in reports]
    assert all(math.isfinite(loss) for loss in losses)
    assert losses[-1] < losses[0]


def test_a_resumed_trial_continues_after_its_checkpoint(manifest: Manifest, tmp_path: Path) -> None:
    run(CONFIG, manifest, tmp_path, stop_after=2)
    reports = run(CONFIG, manifest, tmp_path)
    assert [report.epoch for report in reports] == [1, 2, 3, 4]
    assert reports[-1].resumed_from == 2
