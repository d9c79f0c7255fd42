"""Label smoothing: the loss of labels between 0 and 1."""

import pytest
import torch

from kmcl_platform.method.losses.classification import Classification
from tests.method import oracles
from tests.method.cases import build_loss, random_case

FOCUS: dict[str, float] = {"gamma_positive": 1.5, "gamma_negative": 4.0, "clip": 0.05}


def classification(smoothing: float, *, plain: bool) -> Classification:
    return Classification(plain=plain, detach_focusing=False, label_smoothing=smoothing, **FOCUS)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.6])
def test_smoothed_cross_entropy_is_that_of_torch_for_soft_labels(smoothing: float) -> None:
    _, mixture, y = random_case()
    known = y >= 0
    soft = (y == 1).double() * (1 - smoothing) + smoothing / 2
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        mixture.logits_BK, soft, known.double(), reduction="sum"
    )
    value = classification(smoothing, plain=True)(mixture.logits_BK, y == 1, known)
    assert value.item() == pytest.approx(expected.item(), rel=1e-9)


def test_the_smoothed_asymmetric_loss_weighs_both_labels() -> None:
    _, mixture, y = random_case()
    opposite = torch.where(y < 0, y, 1 - y)
    expected = 0.9 * oracles.asymmetric(mixture.logits_BK, y, **FOCUS)
    expected += 0.1 * oracles.asymmetric(mixture.logits_BK, opposite, **FOCUS)
    value = classification(0.2, plain=False)(mixture.logits_BK, y == 1, y >= 0)
    assert value.item() == pytest.approx(expected, rel=1e-6)


def test_the_derivative_passes_gradcheck() -> None:
    _, mixture, y = random_case(seed=4, sizes=(5, 3, 4))
    z = mixture.logits_BK.clone().requires_grad_()
    for plain in (True, False):
        loss = classification(0.3, plain=plain)
        assert torch.autograd.gradcheck(lambda z, loss=loss: loss(z, y == 1, y >= 0), z)


@pytest.mark.parametrize("objective", ["kmcl", "asymmetric", "bce"])
def test_the_objective_smooths_the_labels_of_its_classification_alone(objective: str) -> None:
    case = random_case()
    hard, soft = (build_loss(objective=objective, label_smoothing=s)(*case) for s in (0.0, 0.2))
    assert soft.asymmetric != hard.asymmetric
    assert soft.reconstruction.equal(hard.reconstruction) and soft.contrastive.equal(hard.contrastive)
