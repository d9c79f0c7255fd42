"""Trials that the tests of training run, in this process or in the workers of a group."""

import os
from pathlib import Path

import torch
import torch.distributed as dist

from kmcl_platform.config.reports.epoch_report import EpochReport
from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.training.fit import fit
from kmcl_platform.training.workers.distributed import Workers

ALONE = Workers(rank=0, world_size=1, device=torch.device("cpu"))


def run(
    config: TrialConfig, manifest: Manifest, folder: Path, *, stop_after: int = 99, features: Path | None = None
) -> list[EpochReport]:
    reports: list[EpochReport] = []

    def report(result: EpochReport) -> bool:
        reports.append(result)
        return result.epoch < stop_after

    fit(config, manifest, checkpoints=folder, report=report, workers=ALONE, features=features)
    return reports


def join(rank: int, num_workers: int, port: int) -> None:
    """Make this process a worker of a group on this machine, with one thread."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=num_workers)
