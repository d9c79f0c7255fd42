"""A trial with a frozen backbone: the whole model predicts as the trial was evaluated, and the trial can continue."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file

from kmcl_platform.config.reports.epoch_report import GRADIENT_SHARES, objective_names
from kmcl_platform.config.search_file_reader import parse_search_file
from kmcl_platform.config.trial_config import Scalar
from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.data.manifest.parquet import read_manifest
from kmcl_platform.data.scores_file import VALIDATION_SCORES, read_scores
from kmcl_platform.errors import ConfigError, WeightsError
from kmcl_platform.registry.model.model_folder import read_predictor, write_model
from kmcl_platform.training.build import build_model
from kmcl_platform.training.checkpoints.checkpoint import read_progress
from kmcl_platform.training.checkpoints.checkpoint_folder import AVERAGE, find_checkpoint
from kmcl_platform.training.features.backbone_weights import join_backbone
from kmcl_platform.training.fit import fit
from kmcl_platform.training.probe import probe
from kmcl_platform.training.workers.distributed import join_workers
from tests.support.waiting import free_port
from tests.support.worker_processes import run_workers
from tests.training.features.frozen import frozen_config, numbers, run, write_weights
from tests.training.trials import ALONE, join

CASES: list[dict[str, Scalar]] = [
    {},
    {"model.projection_width": 24, "model.kernels_per_class": 2},
    {"model.kernel": "anisotropic", "model.reduced_dim": 8, "model.feature_dtype": "float16"},
]


@pytest.mark.parametrize("values", CASES)
def test_the_whole_model_predicts_as_the_trial_was_evaluated(
    values: dict[str, Scalar], weights: Path, manifest: Manifest, tmp_path: Path
) -> None:
    config = frozen_config(weights).with_values(values)
    reports = run(config, manifest, tmp_path)
    assert set(reports[-1].metrics) == {*objective_names(built_in=True), *GRADIENT_SHARES}
    assert sum(reports[-1].metrics[name] for name in GRADIENT_SHARES) == pytest.approx(1)
    checkpoint = find_checkpoint(tmp_path / "trial")
    assert checkpoint is not None
    assert not [name for name in load_file(checkpoint / AVERAGE) if name.startswith("backbone.")]
    whole = tmp_path / "whole.safetensors"
    digest = read_progress(checkpoint).backbone
    join_backbone(config, digest, tmp_path / "features", checkpoint / AVERAGE, whole)
    write_model(tmp_path / "model", whole, config, manifest.class_names)
    predictor = read_predictor(tmp_path / "model", torch.device("cpu"))
    assert set(predictor.model.state_dict()) == set(build_model(config, 10, pretrained=False).state_dict())
    pictures = [manifest.encoded_image("val", row) for row in range(20)]
    expected_NK = read_scores(checkpoint / VALIDATION_SCORES).scores_NK[:20]
    tolerance = 2e-3 if config.model.feature_dtype == "float16" else 1e-5
    assert predictor.predict(pictures).scores_NK == pytest.approx(expected_NK, abs=tolerance)


def test_the_head_learns_and_the_backbone_does_not(weights: Path, manifest: Manifest, tmp_path: Path) -> None:
    reports = run(frozen_config(weights, num_epochs=8, loss__objective="bce"), manifest, tmp_path)
    assert reports[-1].metrics["train/loss"] < reports[0].metrics["train/loss"]
    (stored,) = (tmp_path / "features" / "backbones").iterdir()
    for name, tensor in load_file(weights).items():
        assert torch.equal(load_file(stored)[f"network.{name}"], tensor), name


def test_a_resumed_trial_needs_no_pretrained_file_and_has_the_same_numbers(
    weights: Path, manifest: Manifest, tmp_path: Path
) -> None:
    config = frozen_config(weights, model__projection_width=16)
    config = config.with_values({"data.augmentation": "torchvision", "data.views": 2})
    whole = run(config, manifest, tmp_path, name="whole")
    run(config, manifest, tmp_path, stop_after=1)
    # Another file of the same name must not matter either: the trial continues with its own backbone.
    write_weights(weights, seed=1)
    resumed = run(config, manifest, tmp_path)
    assert numbers(resumed) == numbers(whole)
    weights.unlink()
    assert numbers(run(config, manifest, tmp_path)) == numbers(whole)


def test_a_backbone_that_is_nowhere_is_named(weights: Path, manifest: Manifest, tmp_path: Path) -> None:
    config = frozen_config(weights)
    run(config, manifest, tmp_path)
    checkpoint = find_checkpoint(tmp_path / "trial")
    assert checkpoint is not None
    digest = read_progress(checkpoint).backbone
    stored = tmp_path / "features" / "backbones" / f"{digest}.safetensors"

    def join_again() -> None:
        join_backbone(config, digest, tmp_path / "features", checkpoint / AVERAGE, tmp_path / "whole")

    stored.unlink()
    join_again()
    assert stored.exists(), "the pretrained file has the weights still"
    write_weights(weights, seed=1)
    stored.write_bytes(stored.read_bytes()[:-8] + bytes(8))
    with pytest.raises(WeightsError, match="was changed, and the pretrained weights of test_byobnet are others now"):
        join_again()
    stored.unlink()
    with pytest.raises(WeightsError, match="is missing, and the pretrained weights of test_byobnet are others now"):
        join_again()


def test_a_new_trial_uses_the_weights_that_its_file_has_now(weights: Path, manifest: Manifest, tmp_path: Path) -> None:
    config = frozen_config(weights, num_epochs=1)
    first = run(config, manifest, tmp_path, name="first")
    write_weights(weights, seed=1)
    second = run(config, manifest, tmp_path, name="second")
    assert first[0].metrics["train/loss"] != second[0].metrics["train/loss"]


def test_a_probe_measures_a_trial_without_the_computation_of_features(
    weights: Path, manifest: Manifest, tmp_path: Path
) -> None:
    config, folder = frozen_config(weights), tmp_path / "features"
    found = probe(config, manifest, num_steps=2, scratch=tmp_path / "scratch", workers=ALONE, features=folder)
    assert found.steps_per_epoch == 6
    assert found.nonfinite_first_steps == 0
    assert found.underflow_share is not None
    assert found.setup_seconds < found.total_seconds
    assert len(list((folder / "splits").glob("*/features.npy"))) == 2


def train(rank: int, num_workers: int, port: int, folder: str, manifest: str, weights: str) -> None:
    join(rank, num_workers, port)
    config = frozen_config(Path(weights), model__projection_width=16)
    reports = run(
        config, read_manifest(Path(manifest)), Path(folder), workers=join_workers(), name=f"workers-{num_workers}"
    )
    if rank == 0:
        torch.save(numbers(reports), Path(folder) / f"{num_workers}.pt")
    dist.destroy_process_group()


@pytest.mark.story
def test_two_workers_train_as_one(weights: Path, small_manifest: Path, tmp_path: Path) -> None:
    for num_workers in (1, 2):
        run_workers(train, num_workers, num_workers, free_port(), str(tmp_path), str(small_manifest), str(weights))
    alone, together = (torch.load(tmp_path / f"{num_workers}.pt", weights_only=True) for num_workers in (1, 2))
    for name in ("train/loss", "train/contrastive", "val/mAP", *GRADIENT_SHARES):
        assert together[-1][name] == pytest.approx(alone[-1][name], rel=2e-3), name


SEARCH = """
name: frozen
base:
  data: {{augmentation: {augmentation}}}
  model: {{backbone_mode: frozen{model}}}
space: {{optim.lr: {{kind: uniform, low: 1e-4, high: 1e-3}}}}
budget: {{trials: 1}}
"""


@pytest.mark.parametrize(
    ("augmentation", "model", "message"),
    [
        ("timm", ", pretrained: true", "base.data.augmentation: got 'timm'; valid: none with model.backbone_mode frozen"),
        ("none, views: 2", ", pretrained: true", "base.data.views: got 2; valid: null, or also model.backbone_mode frozen"),
        ("timm, features: x.npy", ", pretrained: true", "base.data.features: got 'x.npy'; valid: null, or also model.backbo"),
        ("none", "", "base.model.backbone_mode: got 'frozen'; valid: finetune, or also model.pretrained or "),
        ("none", ", pretrained: true, projection_width: 0", "base.model.projection_width: got 0; valid: a number of at"),
        ("none", ", feature_dtype: int8", "base.model.feature_dtype: got 'int8'; valid: 'float32' or 'float16'"),
    ],
)  # fmt: skip
def test_what_a_frozen_backbone_cannot_do_is_refused_in_one_line(augmentation: str, model: str, message: str) -> None:
    content = SEARCH.format(augmentation=augmentation, model=model).encode()
    with pytest.raises(ConfigError) as refused:
        parse_search_file(content, "f.yaml")
    assert str(refused.value).startswith(f"f.yaml: {message}")
    assert "\n" not in str(refused.value)


def test_a_searched_value_that_a_frozen_backbone_cannot_have_is_refused() -> None:
    content = SEARCH.format(augmentation="none", model=", pretrained: true").replace(
        "space: {", "space: {data.augmentation: {kind: choice, choices: [none, timm]}, "
    )
    with pytest.raises(ConfigError, match="^f.yaml: space.data.augmentation: got 'timm', which makes an invalid trial: "
                                          "data.augmentation: got 'timm'; valid: none with"):  # fmt: skip
        parse_search_file(content.encode(), "f.yaml")


def test_a_frozen_trial_needs_a_folder_for_its_features(weights: Path, manifest: Manifest, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="features: got None"):
        fit(frozen_config(weights), manifest, checkpoints=tmp_path, report=lambda _: True, workers=ALONE)
