"""fit: a resumed trial has the same numbers, divergence is named, checkpoints are complete."""

import errno
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from kmcl_platform.config.reports.epoch_report import GRADIENT_SHARES, EpochReport, objective_names
from kmcl_platform.config.trial_config import Scalar, TrialConfig
from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.data.manifest.parquet import read_manifest
from kmcl_platform.errors import ConfigError, DataError, Diverged, StoreError, WeightsError
from kmcl_platform.training.checkpoints.checkpoint import read_progress
from kmcl_platform.training.checkpoints.checkpoint_folder import OPTIMIZER, find_checkpoint
from kmcl_platform.training.session import TrainingSession
from kmcl_platform.training.workers.device_name import device_name
from tests.training.trials import ALONE, run

CONFIG = TrialConfig().with_values(
    {
        "data.image_size": 32,
        "data.batch_size": 32,
        "model.backbone": "test_byobnet",
        "model.kernels_per_class": 2,
        "optim.lr": 5e-3,
        "optim.ema_decay": 0.9,
        "num_epochs": 3,
    }
)


@pytest.fixture(scope="module")
def manifest(small_manifest: Path) -> Manifest:
    return read_manifest(small_manifest)


def numbers(reports: list[EpochReport]) -> list[tuple[int, dict[str, float]]]:
    return [(report.epoch, dict(report.metrics)) for report in reports]


@pytest.fixture(scope="module")
def undisturbed(manifest: Manifest, tmp_path_factory: pytest.TempPathFactory) -> list[EpochReport]:
    return run(CONFIG, manifest, tmp_path_factory.mktemp("undisturbed"))


def test_every_metric_is_reported_each_epoch_under_its_name(undisturbed: list[EpochReport]) -> None:
    assert [report.epoch for report in undisturbed] == [1, 2, 3]
    assert set(undisturbed[0].metrics) == {*objective_names(built_in=True), *GRADIENT_SHARES}
    assert sum(undisturbed[0].metrics[name] for name in GRADIENT_SHARES) == pytest.approx(1)
    assert undisturbed[0].device == device_name(torch.device("cpu"))
    usage = undisturbed[0].usage
    assert set(usage) == {
        "system/cpu_utilization_percentage", "system/memory_usage_megabytes", "system/images_per_second",
        "system/waiting_for_images_percentage", "system/loss_percentage",
    }  # fmt: skip
    assert min(usage.values()) > 0


def test_an_interrupted_trial_has_the_numbers_of_an_undisturbed_one(
    manifest: Manifest, undisturbed: list[EpochReport], tmp_path: Path
) -> None:
    run(CONFIG, manifest, tmp_path, stop_after=1)
    torch.rand(17)  # Random numbers that the process draws in the meantime must not matter.
    resumed = run(CONFIG, manifest, tmp_path)
    assert numbers(resumed) == numbers(undisturbed)
    assert resumed[-1].resumed_from == 1


def test_a_trial_with_nothing_left_to_do_repeats_its_reports(
    manifest: Manifest, undisturbed: list[EpochReport], tmp_path: Path
) -> None:
    run(CONFIG, manifest, tmp_path)
    assert numbers(run(CONFIG, manifest, tmp_path)) == numbers(undisturbed)


def test_the_seed_decides_the_numbers(manifest: Manifest, undisturbed: list[EpochReport], tmp_path: Path) -> None:
    other = run(CONFIG.with_values({"seed": 1, "num_epochs": 1}), manifest, tmp_path)
    assert other[0].metrics["train/loss"] != undisturbed[0].metrics["train/loss"]


def test_a_checkpoint_is_whole_and_can_be_read_without_running_code(manifest: Manifest, tmp_path: Path) -> None:
    (tmp_path / ".writing-epoch-0001-1").mkdir(parents=True)
    run(CONFIG, manifest, tmp_path, stop_after=2)
    assert [path.name for path in tmp_path.iterdir()] == ["epoch-0002"]
    checkpoint = find_checkpoint(tmp_path)
    assert checkpoint is not None
    state = read_progress(checkpoint)
    assert (state.epoch, state.config, state.class_names) == (2, CONFIG, manifest.class_names)
    assert "optimizer" in torch.load(checkpoint / OPTIMIZER, weights_only=True)


@pytest.mark.parametrize("room", [0, 1, 2])
def test_a_full_disk_leaves_the_former_checkpoint(
    room: int, manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(CONFIG, manifest, tmp_path, stop_after=1)
    written: list[Path] = []
    write_bytes = Path.write_bytes

    def fill_up(path: Path, data: bytes) -> int:
        written.append(path)
        if len(written) <= room:
            return write_bytes(path, data)
        write_bytes(path, bytes(data)[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", fill_up)
        with pytest.raises(StoreError, match=f"no space left in {tmp_path}; valid: make room"):
            run(CONFIG, manifest, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["epoch-0001"]
    assert [report.epoch for report in run(CONFIG, manifest, tmp_path)] == [1, 2, 3]


def test_divergence_names_the_first_step_and_the_terms(manifest: Manifest, tmp_path: Path) -> None:
    run(CONFIG, manifest, tmp_path, stop_after=1)
    weights = tmp_path / "epoch-0001" / "model.safetensors"
    tensors = load_file(weights)
    tensors["head.logit_layer.weight"].fill_(torch.nan)
    save_file(tensors, weights)
    steps_of_first_epoch = 192 // 32
    message = rf"^diverged at step {steps_of_first_epoch + 1}: not finite: train/loss, train/asymmetric"
    with pytest.raises(Diverged, match=message):
        run(CONFIG, manifest, tmp_path)


def test_weights_that_the_last_step_makes_infinite_are_divergence(manifest: Manifest) -> None:
    session = TrainingSession(CONFIG.with_values({"data.batch_size": 192}), manifest, ALONE)
    # The loss of the epoch's only step is finite; a gradient of it is not.
    session.model.head.logit_layer.weight.register_hook(lambda gradient: gradient * torch.inf)
    with pytest.raises(Diverged, match=r"^diverged at step 1: not finite: weights head\.logit_layer\.weight$"):
        session.train_epoch(1)


def test_scores_that_are_not_finite_are_divergence(manifest: Manifest) -> None:
    session = TrainingSession(CONFIG, manifest, ALONE)
    weight_KD = session.average.module.head.logit_layer.weight
    # Finite weights, but sums of infinite products of both signs.
    weight_KD.data.fill_(3e38)
    weight_KD.data[:, ::2] *= -1
    with pytest.raises(Diverged, match="^diverged at step 12: not finite: scores of the validation split$"):
        session.validate(2)


@pytest.mark.parametrize("objective", ["asymmetric", "bce"])
def test_baselines_run_through_the_same_path(objective: str, manifest: Manifest, tmp_path: Path) -> None:
    reports = run(CONFIG.with_values({"loss.objective": objective, "num_epochs": 1}), manifest, tmp_path)
    assert reports[0].metrics["train/contrastive"] == 0
    assert 0 < reports[0].metrics["train/loss"] == pytest.approx(reports[0].metrics["train/asymmetric"])


@pytest.mark.parametrize(
    "values",
    [
        {"model.kernel": "anisotropic", "model.reduced_dim": 16},
        {"model.kernel": "mahalanobis", "model.reduced_dim": 16, "loss.kernel_scale": "per_feature"},
        {"model.kernel": "rbf", "loss.formulation": "released"},
        {
            "model.head_start": "scaled",
            "model.head_input": "normalised",
            "loss.kernel_scale": "per_feature",
            "optim.head_lr_factor": 3.0,
        },
        {"loss.formulation": "released", "model.kernels_per_class": 1},
    ],
)
def test_every_form_of_the_method_trains(values: dict[str, Scalar], manifest: Manifest, tmp_path: Path) -> None:
    reports = run(CONFIG.with_values(values), manifest, tmp_path)
    assert reports[-1].metrics["train/loss"] < reports[0].metrics["train/loss"]
    checkpoint = find_checkpoint(tmp_path)
    assert checkpoint is not None
    reduced = load_file(checkpoint / "model.safetensors").get("reduction.weight")
    assert ("model.reduced_dim" in values) == (reduced is not None and len(reduced) == 16)


def test_a_trial_begins_with_pretrained_weights_and_is_resumed_without_them(manifest: Manifest, tmp_path: Path) -> None:
    file = tmp_path / "byobnet.safetensors"
    save_file(timm.create_model("test_byobnet").state_dict(), file)
    config = CONFIG.with_values({"model.pretrained_file": str(file)})
    whole = run(config, manifest, tmp_path / "undisturbed")
    begun = run(config, manifest, tmp_path / "interrupted", stop_after=1)
    assert (
        begun[0].metrics["train/loss"]
        != run(CONFIG, manifest, tmp_path / "plain", stop_after=1)[0].metrics["train/loss"]
    )
    file.unlink()
    assert numbers(run(config, manifest, tmp_path / "interrupted")) == numbers(whole)
    with pytest.raises(WeightsError, match=rf"^model\.pretrained_file: got {file}: no such file; valid: "):
        run(config, manifest, tmp_path / "begins")


def test_an_unknown_backbone_names_the_field(manifest: Manifest, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^model\.backbone: .*'resnet_50'"):
        run(CONFIG.with_values({"model.backbone": "resnet_50"}), manifest, tmp_path)


def test_too_few_images_are_named(manifest: Manifest, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"split train has 192 images; valid: at least data\.batch_size, 256"):
        run(CONFIG.with_values({"data.batch_size": 256}), manifest, tmp_path)
