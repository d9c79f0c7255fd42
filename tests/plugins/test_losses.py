"""The platform's own losses: values against timm or a formula, unknown labels, smoothing, extreme logits."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from kmcl_platform.components.losses import MODULES
from kmcl_platform.components.losses.distribution_balanced import DistributionBalanced
from kmcl_platform.config.loss_config import LossConfig
from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.data.builtin.digits import build_digits
from kmcl_platform.errors import ConfigError
from kmcl_platform.plugins import Loss, find_component, list_components
from kmcl_platform.training.build import LabelCounts, build_classification, build_loss
from kmcl_platform.training.session import TrainingSession
from tests.method.cases import random_case
from tests.training.trials import ALONE

PLAIN = [name for name in MODULES if name != "kmcl" and not find_component(Loss, name).find_missing()]
"""Those that the installed timm has."""
needs_losses_of_timm = pytest.mark.skipif("two_way" not in PLAIN, reason="this timm has no losses for several labels")
B, K = 7, 5
LABELS = LabelCounts([9, 4, 1, 20, 0], 60)
"""A rare, a frequent and a missing label."""


@pytest.fixture
def logits_BK() -> Tensor:
    return torch.randn(B, K, generator=torch.Generator().manual_seed(0)).mul(2).requires_grad_()


@pytest.fixture
def positive_BK() -> Tensor:
    return torch.rand(B, K, generator=torch.Generator().manual_seed(1)) < 0.4


def value(
    name: str, logits_BK: Tensor, positive_BK: Tensor, known_BK: Tensor | None = None, **fields: object
) -> Tensor:
    config = LossConfig.model_validate({"objective": name, **fields})
    known_BK = torch.ones_like(positive_BK) if known_BK is None else known_BK
    return build_classification(config, LABELS)(logits_BK, positive_BK, known_BK)


def test_each_file_registers_the_loss_of_its_name() -> None:
    own = {name: find_component(Loss, name).__module__ for name in list_components(Loss)}
    # Other tests may have loaded plug-ins in this process.
    own = {name: module for name, module in own.items() if module.startswith("kmcl_platform.")}
    assert own == {name: f"kmcl_platform.components.losses.{name}" for name in MODULES}


@needs_losses_of_timm
def test_values_are_those_of_timm(logits_BK: Tensor, positive_BK: Tensor) -> None:
    from timm.loss.distribution_balanced_loss import DistributionBalancedLoss
    from timm.loss.poly_loss import PolyBinaryCrossEntropy
    from timm.loss.two_way_loss import TwoWayLoss
    from timm.loss.zlpr_loss import ZlprLoss

    targets_BK = positive_BK.float()
    expected = {
        "polynomial": PolyBinaryCrossEntropy(2.0, reduction="none")(logits_BK, targets_BK).sum(),
        "two_way": B * TwoWayLoss()(logits_BK, targets_BK),
        "zlpr": B * ZlprLoss()(logits_BK, targets_BK),
        "distribution_balanced": DistributionBalancedLoss(*LABELS, reduction="sum")(logits_BK, targets_BK),
    }
    for name, wanted in expected.items():
        torch.testing.assert_close(value(name, logits_BK, positive_BK), wanted, msg=name)


def test_focal_and_hill_follow_their_formulas(logits_BK: Tensor, positive_BK: Tensor) -> None:
    z_BK = logits_BK.detach().double()
    p_BK = 1 / (1 + (-z_BK).exp())
    right_BK = torch.where(positive_BK, p_BK, 1 - p_BK)
    focal = (-((1 - right_BK) ** 1.5) * right_BK.log()).sum()
    options = {"focal": {"gamma": 1.5}, "hill": {"gamma": 3, "margin": 0.5, "peak": 1.7}}
    torch.testing.assert_close(value("focal", logits_BK, positive_BK, options=options), focal.float())
    shifted_BK = 1 / (1 + (-(z_BK - 0.5)).exp())
    hill_BK = torch.where(positive_BK, -((1 - shifted_BK) ** 3) * shifted_BK.log(), (1.7 - p_BK) * p_BK**2)
    torch.testing.assert_close(value("hill", logits_BK, positive_BK, options=options), hill_BK.sum().float())
    plain = value("focal", logits_BK, positive_BK, options={"focal": {"gamma": 0}})
    torch.testing.assert_close(plain, value("bce", logits_BK, positive_BK))


@pytest.mark.parametrize("name", [name for name in PLAIN if name != "two_way"])
def test_unknown_labels_do_not_count(name: str, logits_BK: Tensor, positive_BK: Tensor) -> None:
    known_BK = torch.rand(B, K, generator=torch.Generator().manual_seed(2)) < 0.7
    first = value(name, logits_BK, positive_BK & known_BK, known_BK)
    assert torch.equal(first, value(name, logits_BK, positive_BK | ~known_BK, known_BK))
    (gradient_BK,) = torch.autograd.grad(first, logits_BK)
    assert not gradient_BK[~known_BK].any() and gradient_BK[known_BK].any()


@pytest.mark.parametrize("name", PLAIN)
def test_smoothing_moves_a_share_of_each_label_or_is_refused(name: str, logits_BK: Tensor, positive_BK: Tensor) -> None:
    if name in ("distribution_balanced", "two_way", "zlpr"):
        with pytest.raises(ConfigError, match=r"label_smoothing: got 0\.2; valid: 0, because the loss"):
            LossConfig(objective=name, label_smoothing=0.2)
        return
    whole, opposite = value(name, logits_BK, positive_BK), value(name, logits_BK, ~positive_BK)
    smooth = value(name, logits_BK, positive_BK, label_smoothing=0.2)
    torch.testing.assert_close(smooth, 0.9 * whole + 0.1 * opposite)


@pytest.mark.parametrize("name", PLAIN)
def test_extreme_logits_have_finite_values_and_gradients(name: str, positive_BK: Tensor) -> None:
    logits_BK = torch.tensor([-200.0, -50, 0, 50, 200]).repeat(B, 1).requires_grad_()
    for positive in (positive_BK, torch.zeros_like(positive_BK), torch.ones_like(positive_BK)):
        loss = value(name, logits_BK, positive)
        (gradient_BK,) = torch.autograd.grad(loss, logits_BK)
        assert loss.isfinite() and loss >= 0 and gradient_BK.isfinite().all()


@pytest.mark.parametrize("name", PLAIN)
def test_kmcl_adds_its_kernel_terms_to_any_of_them(name: str) -> None:
    features_BD, mixture, targets_BK = random_case()
    labels = LabelCounts([2] * targets_BK.shape[1], 10)
    kmcl = build_loss(LossConfig(classification=name), labels)
    alone = build_loss(LossConfig(objective=name), labels)
    parts, plain = (loss(features_BD, mixture, targets_BK) for loss in (kmcl, alone))
    torch.testing.assert_close(parts.asymmetric, plain.total, check_dtype=False)
    wanted = parts.asymmetric + 0.1 * parts.reconstruction + 0.1 * parts.contrastive
    torch.testing.assert_close(parts.total, wanted)
    assert parts.reconstruction > 0 and parts.contrastive > 0


@needs_losses_of_timm
def test_a_loss_gets_the_labels_of_the_training_split(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for_labels = DistributionBalanced.for_labels

    def look(self: DistributionBalanced, positives_K: Sequence[int], num_images: int) -> object:
        found.append((positives_K, num_images))
        return for_labels(self, positives_K, num_images)

    monkeypatch.setattr(DistributionBalanced, "for_labels", look)
    manifest = build_digits(num_train=32, num_val=8, num_test=8)
    config = TrialConfig().with_values({"loss.objective": "distribution_balanced", "data.batch_size": 16})
    TrainingSession(config, manifest, ALONE)
    assert found == [((manifest.targets("train") == 1).sum(0).tolist(), 32)]
