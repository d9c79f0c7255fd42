"""probe: its first steps are those of the trial, and its measurements are right."""

import mmap
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from kmcl_platform.config.trial_config import Scalar, TrialConfig
from kmcl_platform.data.loading.dataset import Batch, ImageDataset
from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.data.manifest.parquet import read_manifest
from kmcl_platform.method.losses import KmclLoss, LossParts, TermFactors
from kmcl_platform.training import probe as module
from kmcl_platform.training.checkpoints.checkpoint_folder import folder_bytes, keep_average
from kmcl_platform.training.evaluate import SplitScorer
from kmcl_platform.training.fit import fit
from kmcl_platform.training.probe import probe
from kmcl_platform.training.session import TrainingSession
from kmcl_platform.training.workers.distributed import Workers
from kmcl_platform.training.workers.memory import is_out_of_memory, peak_memory, reset_peak_memory

CPU = torch.device("cpu")
ALONE = Workers(rank=0, world_size=1, device=CPU)
CONFIG = TrialConfig().with_values(
    {"data.image_size": 32, "data.batch_size": 32, "model.backbone": "test_byobnet", "num_epochs": 2}
)
STEPS_OF_AN_EPOCH = 192 // 32


@pytest.fixture(scope="module")
def manifest(small_manifest: Path) -> Manifest:
    return read_manifest(small_manifest)


def run(manifest: Manifest, folder: Path, num_steps: int = 4, **values: Scalar):  # type: ignore[no-untyped-def]
    config = CONFIG.with_values({path.replace("__", "."): value for path, value in values.items()})
    return probe(config, manifest, num_steps=num_steps, scratch=folder / "scratch", workers=ALONE)


def test_every_cost_is_measured(manifest: Manifest, tmp_path: Path) -> None:
    found = run(manifest, tmp_path)
    assert (found.device, found.steps_per_epoch) == ("cpu", STEPS_OF_AN_EPOCH)
    assert (found.first_steps, found.peak_steps) == (3 + 4, 4)
    assert (found.nonfinite_first_steps, found.nonfinite_peak_steps) == (0, 0)
    assert 0 < 4 * found.seconds_per_step < found.total_seconds
    assert found.epoch_seconds == pytest.approx(6 * found.seconds_per_step + found.evaluation_seconds)
    assert 1e8 < found.peak_bytes < 2e10
    assert list(tmp_path.iterdir()) == []


def test_slow_images_and_a_slow_loss_are_found(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, loss = ImageDataset.__getitems__, KmclLoss.forward

    def read_slowly(self: ImageDataset, indices: list[int]) -> Batch:
        time.sleep(0.5)
        return read(self, indices)

    def compute_slowly(self: KmclLoss, *words: Any) -> LossParts:
        time.sleep(0.5)
        return loss(self, *words)

    with monkeypatch.context() as patch:
        patch.setattr(ImageDataset, "__getitems__", read_slowly)
        assert run(manifest, tmp_path).limit[0] == "images"
    monkeypatch.setattr(KmclLoss, "forward", compute_slowly)
    found = run(manifest, tmp_path)
    assert found.limit[0] == "loss"
    assert found.loss_seconds > 0.5


def test_the_checkpoint_is_as_large_as_a_trial_of_that_kind_leaves(manifest: Manifest, tmp_path: Path) -> None:
    fit(CONFIG, manifest, checkpoints=tmp_path / "trial", report=lambda report: report.epoch < 1, workers=ALONE)
    found = run(manifest, tmp_path / "scratch")
    # Without the reports of the epochs, which grow.
    assert found.checkpoint_bytes == pytest.approx(folder_bytes(tmp_path / "trial"), rel=0.01)
    keep_average(tmp_path / "trial" / "epoch-0001")
    assert found.average_bytes == pytest.approx(folder_bytes(tmp_path / "trial"), rel=0.01)
    assert found.average_bytes < found.checkpoint_bytes / 2


def test_the_first_steps_are_those_of_the_trial(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stopped(Exception):
        pass

    def stop_after_the_first_steps(session: TrainingSession, *_: object) -> None:
        session.save(tmp_path / "probed", ())
        raise Stopped

    monkeypatch.setattr(module, "_underflow_share", stop_after_the_first_steps)
    with pytest.raises(Stopped):
        run(manifest, tmp_path, num_steps=STEPS_OF_AN_EPOCH - 3)
    fit(CONFIG, manifest, checkpoints=tmp_path / "trained", report=lambda report: False, workers=ALONE)
    probed, trained = (
        load_file(tmp_path / name / "model.safetensors") for name in ("probed/epoch-0000", "trained/epoch-0001")
    )
    assert all(torch.equal(probed[name], trained[name]) for name in trained)


def test_the_steps_at_the_peak_have_the_rate_of_the_head_and_all_terms(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[float] = []
    factors: list[TermFactors] = []
    steps_at_peak = module._steps_at_peak

    def look(session: TrainingSession, *arguments: object) -> object:
        result = steps_at_peak(session, *arguments)  # type: ignore[arg-type]
        rates.extend(group["lr"] for group in session.optimizer.param_groups)
        factors.append(session.step.factors)
        return result

    monkeypatch.setattr(module, "_steps_at_peak", look)
    shares = {"loss__balance": "gradient_shares", "loss__kernel_start": 0.4}
    run(manifest, tmp_path, optim__lr=1e-3, optim__head_lr_factor=3.0, **shares)
    assert rates == pytest.approx([1e-3, 1e-3, 3e-3, 3e-3])
    assert factors[0].kernels == 1.0
    assert factors[0].each_3 is not None and bool((factors[0].each_3 > 0).all())


def test_a_probe_takes_no_more_steps_than_the_trial(manifest: Manifest, tmp_path: Path) -> None:
    found = run(manifest, tmp_path, num_steps=50, num_epochs=1, data__batch_size=96)
    assert (found.first_steps, found.steps_per_epoch) == (2, 2)


def test_losses_that_are_not_finite_are_counted(manifest: Manifest, tmp_path: Path) -> None:
    found = run(manifest, tmp_path, loss__reconstruction_weight=1e39)
    assert (found.nonfinite_first_steps, found.nonfinite_peak_steps) == (7, 4)


def test_kernels_that_vanish_are_a_share_of_known_labels(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(features_BD: torch.Tensor, mixture: object, *, scale: float) -> torch.Tensor:
        assert scale == 1.0
        log_g_BK = torch.zeros(len(features_BD), 10)
        log_g_BK[: len(features_BD) // 2] = -200.0  # exp(-200) is 0 in float32, but not in float64
        return log_g_BK

    monkeypatch.setattr(module, "log_kernel", half)
    assert run(manifest, tmp_path, loss__kernel_scale="total").underflow_share == pytest.approx(0.5)
    assert run(manifest, tmp_path, loss__objective="bce").underflow_share is None


def test_a_part_of_a_split_has_the_scores_of_the_whole(manifest: Manifest) -> None:
    session = TrainingSession(CONFIG, manifest, ALONE)
    whole, _ = SplitScorer(session.inputs.validation_set, batch_size=16, workers=ALONE).score(session.average)
    dataset = session.inputs.validation_set
    part, targets = SplitScorer(dataset, batch_size=16, workers=ALONE, first=20).score(session.average)
    assert len(whole) == 97
    assert len(part) == len(targets) == 20
    torch.testing.assert_close(part, whole[:20])


def test_the_peak_of_memory_counts_from_its_reset() -> None:
    reset_peak_memory(CPU)
    before = peak_memory(CPU)
    # A mapping of its own: malloc might return memory that is resident already.
    with mmap.mmap(-1, 2**27) as block:
        block.write(b"x" * 2**27)
        assert peak_memory(CPU) - before > 0.9 * 2**27
    reset_peak_memory(CPU)
    assert peak_memory(CPU) - before < 0.5 * 2**27


def test_torchs_error_for_no_memory_on_a_cpu_is_recognised() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
