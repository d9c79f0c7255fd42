"""A trial on a user's own features: it trains, continues, and notices that its file was replaced."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist

from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.data.manifest.parquet import read_manifest
from kmcl_platform.errors import CheckpointError, DataError
from kmcl_platform.training.checkpoints.checkpoint import read_progress
from kmcl_platform.training.checkpoints.checkpoint_folder import find_checkpoint
from kmcl_platform.training.features import sources
from kmcl_platform.training.workers.distributed import join_workers
from tests.support.waiting import free_port
from tests.support.worker_processes import run_workers
from tests.training.features.frozen import numbers, run
from tests.training.trials import join


def write_features(path: Path, manifest: Manifest, seed: int = 0) -> Path:
    """Features from which the classes can be learned."""
    rng = np.random.default_rng(seed)
    targets_NK = np.array(manifest.table["targets"].to_pylist(), dtype=np.float32)
    maps_KD = rng.normal(size=(targets_NK.shape[1], 12))
    np.save(path, (2 * targets_NK @ maps_KD + rng.normal(size=(len(targets_NK), 12))).astype(np.float32))
    return path


def own_config(file: Path, epochs: int = 3) -> TrialConfig:
    return TrialConfig().with_values(
        {
            "data.features": str(file),
            "data.batch_size": 32,
            "model.backbone_mode": "frozen",
            "optim.lr": 1e-2,
            "optim.ema_decay": 0.9,
            "num_epochs": epochs,
        }
    )


def test_it_learns_and_continues_with_the_same_numbers(manifest: Manifest, tmp_path: Path) -> None:
    config = own_config(write_features(tmp_path / "own.npy", manifest), epochs=8)
    whole = run(config, manifest, tmp_path, name="whole")
    assert whole[-1].metrics["val/mAP"] > whole[0].metrics["val/mAP"] + 0.05
    run(config, manifest, tmp_path, stop_after=2)
    assert numbers(run(config, manifest, tmp_path)) == numbers(whole)
    checkpoint = find_checkpoint(tmp_path / "trial")
    assert checkpoint is not None
    assert read_progress(checkpoint).features and not read_progress(checkpoint).backbone


def test_it_does_not_continue_with_a_replaced_file(manifest: Manifest, tmp_path: Path) -> None:
    file = write_features(tmp_path / "own.npy", manifest)
    config = own_config(file)
    run(config, manifest, tmp_path, stop_after=1)
    write_features(file, manifest, seed=1)
    with pytest.raises(CheckpointError, match="^.*/trial: holds a checkpoint of other features: data.features has the"):
        run(config, manifest, tmp_path)
    write_features(file, manifest)
    assert len(run(config, manifest, tmp_path)) == 3


def train(rank: int, num_workers: int, port: int, folder: str, manifest: str) -> None:
    join(rank, num_workers, port)
    if rank:
        # The node of this worker does not have the file.
        sources.read_own_features = None  # type: ignore[assignment]
        sources.digest_own_features = None  # type: ignore[assignment]
    config = own_config(Path(folder) / "own.npy")
    name = f"workers-{num_workers}"
    reports = run(config, read_manifest(Path(manifest)), Path(folder), workers=join_workers(), name=name)
    if rank == 0:
        torch.save(numbers(reports), Path(folder) / f"{num_workers}.pt")
    # The error of the first worker reaches both.
    np.save(Path(folder) / "short.npy", np.ones((3, 2), np.float32))
    dist.barrier()
    with pytest.raises(DataError, match="short.npy: got 3 rows"):
        run(own_config(Path(folder) / "short.npy"), read_manifest(Path(manifest)), Path(folder), workers=join_workers())
    dist.destroy_process_group()


@pytest.mark.story
def test_only_the_first_worker_needs_the_file(small_manifest: Path, manifest: Manifest, tmp_path: Path) -> None:
    write_features(tmp_path / "own.npy", manifest)
    run_workers(train, 2, 2, free_port(), str(tmp_path), str(small_manifest))
    together = torch.load(tmp_path / "2.pt", weights_only=True)
    alone = numbers(run(own_config(tmp_path / "own.npy"), manifest, tmp_path, name="alone"))
    assert together[-1]["val/mAP"] == pytest.approx(alone[-1]["val/mAP"], rel=2e-3)
