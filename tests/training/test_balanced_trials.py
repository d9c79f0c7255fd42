"""Whole trials with gradient shares or a late start: resumed, recorded, on two workers."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from kmcl_platform.config.reports.epoch_report import GRADIENT_SHARES, TERM_WEIGHTS, EpochReport
from kmcl_platform.config.trial_config import Scalar, TrialConfig
from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.data.manifest.parquet import read_manifest
from kmcl_platform.training.fit import fit
from kmcl_platform.training.session import TrainingSession
from kmcl_platform.training.term_balance import MEASURE_EVERY
from kmcl_platform.training.workers.distributed import join_workers
from tests.support.waiting import free_port
from tests.support.worker_processes import run_workers
from tests.training.trials import ALONE, join, run

TRIAL = TrialConfig().with_values(
    {
        "data.image_size": 32,
        "data.batch_size": 32,
        "model.backbone": "test_byobnet",
        "optim.lr": 5e-3,
        "num_epochs": 3,
        "loss.balance": "gradient_shares",
        "loss.reconstruction_share": 0.2,
        "loss.contrastive_share": 0.3,
    }
)
STEPS_OF_AN_EPOCH = 192 // 32


@pytest.fixture(scope="module")
def manifest(small_manifest: Path) -> Manifest:
    return read_manifest(small_manifest)


@pytest.mark.parametrize(
    "values", [{}, {"loss.kernel_start": 0.3}, {"loss.balance": "weights", "loss.kernel_start": 0.4}]
)
def test_a_resumed_trial_equals_an_uninterrupted_one(
    values: dict[str, Scalar], manifest: Manifest, tmp_path: Path
) -> None:
    # Neither the number of steps of an epoch nor the start is a multiple of the steps between measurements.
    assert STEPS_OF_AN_EPOCH % MEASURE_EVERY
    config = TRIAL.with_values(values)
    whole = run(config, manifest, tmp_path / "whole")
    run(config, manifest, tmp_path / "parts", stop_after=1)
    parts = run(config, manifest, tmp_path / "parts", stop_after=2)
    parts = run(config, manifest, tmp_path / "parts")
    assert [report.metrics for report in parts] == [report.metrics for report in whole]
    for report in whole[1:]:
        assert {*TERM_WEIGHTS} <= {*report.metrics}


def test_the_weights_of_the_last_step_are_recorded(manifest: Manifest, tmp_path: Path) -> None:
    weights = {"loss.reconstruction_weight": 1.0, "loss.contrastive_weight": 0.5}
    late = TRIAL.with_values({"loss.balance": "weights", "loss.kernel_start": 0.4} | weights)
    start = round(0.4 * 3 * STEPS_OF_AN_EPOCH)
    for epoch, report in enumerate(run(late, manifest, tmp_path), start=1):
        ramp = min(1, max(0, epoch * STEPS_OF_AN_EPOCH - start) / start)
        assert [report.metrics[name] for name in TERM_WEIGHTS] == pytest.approx([ramp, 0.5 * ramp])
        shares = [report.metrics.get(name, 0) for name in GRADIENT_SHARES[1:]]
        assert (min(shares) > 0) == (ramp > 0)


def test_a_share_of_zero_has_no_weight_and_no_share(manifest: Manifest) -> None:
    session = TrainingSession(TRIAL.with_values({"loss.reconstruction_share": 0.0}), manifest, ALONE)
    metrics = session.train_epoch(1)
    assert TERM_WEIGHTS[0] not in metrics and GRADIENT_SHARES[1] not in metrics
    assert metrics[TERM_WEIGHTS[1]] > 0
    assert metrics[GRADIENT_SHARES[2]] == pytest.approx(0.3, abs=0.2)


def train(rank: int, num_workers: int, port: int, folder: str, manifest: str) -> None:
    join(rank, num_workers, port)
    config = TRIAL.with_values({"loss.kernel_start": 0.15, "model.sync_batch_norm": True})
    reports: list[EpochReport] = []

    def report(result: EpochReport) -> bool:
        reports.append(result)
        return result.epoch < 2

    checkpoints = Path(folder) / f"trial-{num_workers}"
    fit(config, read_manifest(Path(manifest)), checkpoints=checkpoints, report=report, workers=join_workers())
    if rank == 0:
        torch.save([dict(result.metrics) for result in reports], Path(folder) / f"{num_workers}.pt")
    dist.destroy_process_group()


@pytest.mark.story
def test_two_workers_train_as_one(small_manifest: Path, tmp_path: Path) -> None:
    """Before their start the kernels' layers have no gradient, for which data parallelism must be prepared."""
    for num_workers in (1, 2):
        run_workers(train, num_workers, num_workers, free_port(), str(tmp_path), str(small_manifest))
    alone, together = (torch.load(tmp_path / f"{num_workers}.pt", weights_only=True) for num_workers in (1, 2))
    for name in ("train/loss", *TERM_WEIGHTS):
        # Rounding grows from step to step.
        assert together[0][name] == pytest.approx(alone[0][name], rel=1e-2), name
    assert {*TERM_WEIGHTS} <= {*together[1]}


def test_a_dominating_term_is_in_the_log_once_in_a_trial(
    manifest: Manifest, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    heavy = TRIAL.with_values({"loss.balance": "weights", "loss.reconstruction_weight": 1e4})
    run(heavy, manifest, tmp_path, stop_after=1)
    run(heavy, manifest, tmp_path)
    lines = [record.getMessage() for record in caplog.records if "times that of the classification" in record.message]
    assert len(lines) == 1
    assert lines[0].startswith("train/gradient_share/reconstruction: got ")
