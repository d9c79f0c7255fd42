"""Trials that the tests of training run in this process."""

from pathlib import Path

import torch

from kmcl_platform.config.reports.epoch_report import EpochReport
from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.training.fit import fit
from kmcl_platform.training.workers.distributed import Workers

ALONE = Workers(rank=0, world_size=1, device=torch.device("cpu"))


def run(config: TrialConfig, manifest: Manifest, folder: Path, *, stop_after: int = 99) -> list[EpochReport]:
    reports: list[EpochReport] = []

    def report(result: EpochReport) -> bool:
        reports.append(result)
        return result.epoch < stop_after

    fit(config, manifest, checkpoints=folder, report=report, workers=ALONE)
    return reports
