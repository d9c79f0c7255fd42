"""Shares of the gradient norms: compared with separate backward passes; they do not change the training."""

import copy

import pytest
import torch

from kmcl_platform.config.loss_config import LossConfig
from kmcl_platform.config.reports.epoch_report import GRADIENT_SHARES
from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.method.networks.model import KmclModel
from kmcl_platform.training.build import build_loss, build_model
from kmcl_platform.training.device import Precision
from kmcl_platform.training.gradient_shares import DominanceWatch, TermGradients
from kmcl_platform.training.step import TrainStep
from tests.training.trials import ALONE

WEIGHTS = {"loss.asymmetric_weight": 0.5, "loss.reconstruction_weight": 2.0, "loss.contrastive_weight": 0.3}
CONFIG = TrialConfig().with_values({"model.backbone": "test_byobnet", "model.kernels_per_class": 2, **WEIGHTS})


def make(kernel: str = "isotropic", head_input: str = "raw") -> tuple[KmclModel, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    config = CONFIG.with_values({"model.kernel": kernel, "model.reduced_dim": 8, "model.head_input": head_input})
    model = build_model(config, 5)
    images = torch.randint(0, 256, (12, 3, 32, 32), dtype=torch.uint8)
    return model, images, torch.randint(-1, 2, (12, 5))


def shares_of(model: KmclModel, images: torch.Tensor, targets: torch.Tensor, config: TrialConfig) -> dict[str, float]:
    loss, gradients = build_loss(config.loss), TermGradients(model.head)
    with gradients.watching():
        model(images)
    gradients.measure(loss, targets, scale=8.0)
    return gradients.shares(ALONE)


@pytest.mark.parametrize("head_input", ["raw", "normalised"])
@pytest.mark.parametrize("kernel", ["isotropic", "anisotropic"])
def test_each_share_equals_that_of_a_backward_pass_of_its_term(kernel: str, head_input: str) -> None:
    model, images, targets = make(kernel, head_input)
    found = shares_of(model, images, targets, CONFIG)
    norms = []
    for name in WEIGHTS:
        others = {other: 0.0 for other in WEIGHTS if other != name}
        loss = build_loss(CONFIG.with_values(others).loss)
        features = model.backbone(images)
        if model.reduction is not None:
            features = model.reduction(features)
        features.retain_grad()
        loss(model.head.kernel_features(features), model.head(features), targets).total.backward()
        norms.append(float(features.grad.norm()))
    assert found == pytest.approx(
        dict(zip(GRADIENT_SHARES, [norm / sum(norms) for norm in norms], strict=True)), rel=1e-4
    )


def test_a_term_without_a_weight_has_no_share() -> None:
    model, images, targets = make()
    found = shares_of(model, images, targets, CONFIG.with_values({"loss.contrastive_weight": 0.0}))
    assert set(found) == set(GRADIENT_SHARES[:2])
    bce = shares_of(model, images, targets, CONFIG.with_values({"loss.objective": "bce"}))
    assert bce == {GRADIENT_SHARES[0]: 1.0}


def test_a_measured_step_is_the_same_step() -> None:
    first, images, targets = make()
    models = first, copy.deepcopy(first)
    for model in models:
        step = TrainStep(
            model,
            build_loss(CONFIG.loss),
            torch.optim.SGD(model.parameters(), lr=0.1),
            device=ALONE.device,
            precision=Precision("cpu"),
            gradient_clip_norm=None,
        )
        torch.manual_seed(1)
        step(images, targets, TermGradients(model.head) if model is first else None)
    looked_at, other = (model.state_dict() for model in models)
    for name, value in other.items():
        assert torch.equal(looked_at[name], value), name


def metrics_of(*shares: float) -> dict[str, float]:
    return dict(zip(GRADIENT_SHARES, shares, strict=True))


def test_a_term_far_above_the_classification_is_warned_of_once() -> None:
    watch = DominanceWatch(LossConfig(kernel_scale="total"))
    assert watch.look({}) is None
    assert watch.look(metrics_of(0.08, 0.8, 0.12)) is None
    assert watch.look(metrics_of(0.0, 0.8, 0.2)) is None
    assert watch.look(metrics_of(0.01, 0.19, 0.8)) == (
        "train/gradient_share/contrastive: got 0.8, 80 times that of the classification; valid: at most 10 times, with "
        "loss.kernel_scale: per_feature, a smaller loss.contrastive_weight, or loss.balance: gradient_shares"
    )
    assert watch.look(metrics_of(0.01, 0.19, 0.8)) is None


@pytest.mark.parametrize(
    ("values", "remedies"),
    [
        ({"kernel_scale": "per_feature"}, "a smaller loss.reconstruction_weight, or loss.balance: gradient_shares"),
        ({"formulation": "released"}, "a smaller loss.reconstruction_weight"),
        ({"balance": "gradient_shares"}, "a smaller loss.reconstruction_share"),
    ],
)
def test_remedies_are_those_that_the_loss_has(values: dict[str, str], remedies: str) -> None:
    line = DominanceWatch(LossConfig.model_validate(values)).look(metrics_of(0.01, 0.97, 0.02))
    assert line is not None and line.endswith(f"at most 10 times, with {remedies}")
