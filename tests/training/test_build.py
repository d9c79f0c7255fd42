"""Every field of the method's configuration reaches its object, and a search can vary it."""

from typing import Any

import pytest

from kmcl_platform.config.loss_config import LossConfig
from kmcl_platform.config.search_file_reader import parse_search_file
from kmcl_platform.config.trial_config import ModelConfig, TrialConfig
from kmcl_platform.method.losses.classification import Classification
from kmcl_platform.training.build import build_loss, build_model

LOSS: dict[str, Any] = {
    "objective": "asymmetric",
    "formulation": "released",
    "temperature": 0.5,
    "kernel_scale": "total",
    "gamma_positive": 1.0,
    "gamma_negative": 2.0,
    "clip": 0.1,
    "detach_focusing": False,
    "label_smoothing": 0.2,
}
BALANCE = ("balance", "reconstruction_share", "contrastive_share", "kernel_start")
"""Fields that `TermBalance` uses: tests/training/test_term_balance.py."""

COMPONENTS = ("classification", "options")
"""Fields of classification losses, which tests/plugins looks at."""
WEIGHTS = ("asymmetric_weight", "reconstruction_weight", "contrastive_weight")


def test_no_field_of_the_loss_is_forgotten_here() -> None:
    assert set(LossConfig.model_fields) == {*LOSS, *BALANCE, *WEIGHTS, *COMPONENTS}


@pytest.mark.parametrize("name", LOSS)
def test_fields_of_the_loss_arrive(name: str) -> None:
    usual, changed = build_loss(LossConfig()), build_loss(LossConfig(**{name: LOSS[name]}))
    if name in Classification._fields:
        usual, changed = usual.classification, changed.classification
    assert getattr(usual, name) != LOSS[name]
    assert getattr(changed, name) == LOSS[name]


def test_weights_of_the_loss_arrive() -> None:
    config = LossConfig(asymmetric_weight=0.5, reconstruction_weight=2, contrastive_weight=3)
    assert build_loss(config).weights == (0.5, 2, 3)


@pytest.mark.parametrize(
    ("kernel", "num_features", "kernel_size"),
    [("isotropic", 96, 1), ("rbf", 96, 1), ("anisotropic", 24, 24), ("mahalanobis", 24, 24)],
)
def test_fields_of_the_model_arrive(kernel: str, num_features: int, kernel_size: int) -> None:
    config = TrialConfig(model={"kernel": kernel, "kernels_per_class": 2, "reduced_dim": 24})  # type: ignore[arg-type]
    head = build_model(config, 5).head
    assert (head.kernel, head.kernels_per_class, head.num_classes) == (kernel, 2, 5)
    assert (head.num_features, head.kernel_size) == (num_features, kernel_size)
    projected = build_model(config.with_values({"model.projection_width": 16}), 5, num_features=96)
    assert projected.backbone is None
    assert projected.projection is not None and projected.projection[0].in_features == 96
    assert projected.head.num_features == (16 if kernel_size == 1 else 24)


def test_the_start_and_the_input_of_the_head_arrive() -> None:
    head = build_model(TrialConfig(), 5).head
    assert (head.start, head.input) == ("released", "raw")
    head = build_model(TrialConfig(model=ModelConfig(head_start="scaled", head_input="normalised")), 5).head
    assert (head.start, head.input) == ("scaled", "normalised")


def test_a_search_can_vary_the_whole_method() -> None:
    file = parse_search_file(
        b"""
name: method
base: {}
space:
  model.kernel: {kind: choice, choices: [isotropic, anisotropic, mahalanobis, rbf]}
  model.kernels_per_class: {kind: int, low: 1, high: 8}
  model.reduced_dim: {kind: int, low: 16, high: 256, when: {model.kernel: anisotropic}}
  model.sync_batch_norm: {kind: choice, choices: [true, false]}
  model.head_start: {kind: choice, choices: [released, scaled]}
  model.head_input: {kind: choice, choices: [raw, normalised]}
  optim.head_lr_factor: {kind: loguniform, low: 0.1, high: 10}
  loss.objective: {kind: choice, choices: [kmcl, asymmetric, bce]}
  loss.formulation: {kind: choice, choices: [corrected, released]}
  loss.kernel_scale: {kind: choice, choices: [total, per_feature]}
  loss.reconstruction_share: {kind: uniform, low: 0, high: 0.45}
  loss.contrastive_share: {kind: uniform, low: 0, high: 0.45}
  loss.kernel_start: {kind: uniform, low: 0, high: 0.5}
  loss.temperature: {kind: loguniform, low: 0.01, high: 1}
  loss.gamma_negative: {kind: uniform, low: 0, high: 4}
  loss.contrastive_weight: {kind: loguniform, low: 0.001, high: 10}
budget: {trials: 3}
""",
        "method.yaml",
    )
    assert len(file.space) == 16
