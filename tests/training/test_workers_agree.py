"""A trial on two workers has the numbers of one worker: loss, gradients and batch statistics of the global batch."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from kmcl_platform.config.reports.epoch_report import GRADIENT_SHARES, EpochReport
from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.data.manifest.parquet import read_manifest
from kmcl_platform.training.fit import fit
from kmcl_platform.training.session import TrainingSession
from kmcl_platform.training.workers.batch_norm import synchronise_batch_norm
from kmcl_platform.training.workers.distributed import Workers, join_workers
from tests.support.waiting import free_port
from tests.support.worker_processes import run_workers
from tests.training.trials import join

CONFIG = TrialConfig().with_values(
    {
        "data.image_size": 32,
        "data.batch_size": 32,
        "model.kernels_per_class": 2,
        "optim.lr": 5e-3,
        "optim.ema_decay": 0.9,
        "num_epochs": 2,
        "model.sync_batch_norm": True,
    }
)


def train(rank: int, num_workers: int, port: int, folder: str, manifest: str, sync: bool) -> None:
    join(rank, num_workers, port)
    reports: list[EpochReport] = []

    def report(result: EpochReport) -> bool:
        reports.append(result)
        return True

    config = CONFIG.with_values({"model.sync_batch_norm": sync})
    checkpoints = Path(folder) / f"{num_workers}-{sync}"
    fit(config, read_manifest(Path(manifest)), checkpoints=checkpoints, report=report, workers=join_workers())
    if rank == 0:
        torch.save([dict(result.metrics) for result in reports], Path(folder) / f"{num_workers}-{sync}.pt")
    dist.destroy_process_group()


def run(num_workers: int, folder: Path, manifest: Path, *, sync: bool) -> list[dict[str, float]]:
    arguments = (num_workers, free_port(), str(folder), str(manifest), sync)
    run_workers(train, num_workers, *arguments)
    metrics: list[dict[str, float]] = torch.load(folder / f"{num_workers}-{sync}.pt", weights_only=True)
    return metrics


@pytest.mark.story
def test_two_workers_train_as_one(small_manifest: Path, tmp_path: Path) -> None:
    alone = run(1, tmp_path, small_manifest, sync=True)
    together = run(2, tmp_path, small_manifest, sync=True)
    apart = run(2, tmp_path, small_manifest, sync=False)
    for term in ("train/loss", "train/asymmetric", "train/reconstruction", "train/contrastive"):
        # Rounding grows from step to step. Without synchronised batch normalisation the difference is much larger.
        assert together[0][term] == pytest.approx(alone[0][term], rel=2e-3), term
    for share in GRADIENT_SHARES:
        assert together[0][share] == pytest.approx(alone[0][share], rel=2e-2), share
    assert apart[0]["train/loss"] != pytest.approx(alone[0]["train/loss"], rel=2e-3)


def test_workers_exchange_only_the_buffers_of_the_network(small_manifest: Path) -> None:
    """NCCL sends no tensor of the CPU, and the average's counter is there also if its weights are on a GPU."""
    exchanged: list[str] = []

    class RecordingWorkers(Workers):
        def broadcast_buffers(self, module: torch.nn.Module) -> None:
            exchanged.extend(name for name, _ in module.named_buffers())

    workers = RecordingWorkers(rank=0, world_size=1, device=torch.device("cpu"))
    session = TrainingSession(CONFIG.with_values({"data.batch_size": 192}), read_manifest(small_manifest), workers)
    session.train_epoch(1)
    assert exchanged == [name for name, _ in session.model.named_buffers()]


def normalise(rank: int, num_workers: int, port: int, folder: str) -> None:
    join(rank, num_workers, port)
    layer = torch.nn.Sequential(torch.nn.BatchNorm2d(3)).double()
    synchronise_batch_norm(layer, torch.device("cpu"))
    images = torch.randn(5, 3, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    images = (images[:3] if rank == 0 else images[3:]).clone().requires_grad_()
    layer(images).pow(3).sum().backward()
    state = dict(layer.state_dict())
    torch.save((images.grad, layer[0].weight.grad, state), Path(folder) / f"norm-{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.story
def test_synchronised_batch_norm_is_batch_norm_over_all_workers(tmp_path: Path) -> None:
    run_workers(normalise, 2, 2, free_port(), str(tmp_path))
    first, second = (torch.load(tmp_path / f"norm-{rank}.pt", weights_only=True) for rank in (0, 1))
    layer = torch.nn.Sequential(torch.nn.BatchNorm2d(3)).double()
    images = torch.randn(5, 3, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    layer(images).pow(3).sum().backward()
    assert images.grad is not None
    assert torch.allclose(torch.cat((first[0], second[0])), images.grad, rtol=1e-9)
    assert torch.allclose(first[1] + second[1], layer[0].weight.grad, rtol=1e-9)
    assert first[2].keys() == layer.state_dict().keys()
    for name, value in layer.state_dict().items():
        assert torch.allclose(first[2][name], value, rtol=1e-9), name
        assert torch.allclose(second[2][name], value, rtol=1e-9), name
