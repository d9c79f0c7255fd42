"""The classification losses compared with plain loops."""

from typing import Any

import pytest
import torch

from kmcl_platform.method.losses.asymmetric import asymmetric_loss
from kmcl_platform.method.losses.binary_cross_entropy import binary_cross_entropy
from tests.method import oracles
from tests.method.cases import random_case

FOCUS: dict[str, float] = {"gamma_positive": 1.5, "gamma_negative": 4.0, "clip": 0.05}


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(
    "focus",
    [FOCUS, FOCUS | {"gamma_positive": 0.0}, FOCUS | {"gamma_negative": 1.5}, FOCUS | {"clip": 0.0}],
    ids=["both", "released", "equal", "no clip"],
)
def test_values_equal_the_oracle(focus: dict[str, float], seed: int) -> None:
    _, mixture, y = random_case(seed=seed)
    value = asymmetric_loss(mixture.logits_BK, y == 1, y >= 0, detach_focusing=True, **focus)
    assert value.item() == pytest.approx(oracles.asymmetric(mixture.logits_BK, y, **focus), rel=1e-6)
    value = binary_cross_entropy(mixture.logits_BK, y == 1, y >= 0)
    assert value.item() == pytest.approx(oracles.binary_cross_entropy(mixture.logits_BK, y), rel=1e-6)


@pytest.mark.parametrize("clip", [0.0, 0.05, 0.5])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 4.0])
@pytest.mark.parametrize("detach", [False, True])
def test_extreme_logits_give_finite_values_and_gradients(clip: float, gamma: float, detach: bool) -> None:
    z = torch.tensor([[-300.0, -30.0, -3.0, 0.0, 3.0, 30.0, 300.0]] * 2, dtype=torch.float64, requires_grad=True)
    y = torch.tensor([[1] * 7, [0] * 7])
    focus: dict[str, Any] = {"gamma_positive": gamma, "gamma_negative": gamma, "clip": clip}
    loss = asymmetric_loss(z, y == 1, y >= 0, detach_focusing=detach, **focus)
    assert loss.item() == pytest.approx(oracles.asymmetric(z.detach(), y, **focus), rel=1e-6)
    loss.backward()
    assert z.grad is not None and bool(z.grad.isfinite().all())


@pytest.mark.parametrize("focus", [FOCUS, FOCUS | {"gamma_positive": 0.0, "clip": 0.0}])
def test_the_derivative_passes_gradcheck(focus: dict[str, float]) -> None:
    _, mixture, y = random_case(seed=4, sizes=(5, 3, 4))
    z = mixture.logits_BK.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: asymmetric_loss(z, y == 1, y >= 0, detach_focusing=False, **focus), z)
    assert torch.autograd.gradcheck(lambda z: binary_cross_entropy(z, y == 1, y >= 0), z)


def test_detached_focusing_removes_its_part_of_the_gradient() -> None:
    _, mixture, y = random_case(seed=0)
    positive, known = y == 1, y >= 0
    z = mixture.logits_BK.clone().requires_grad_()
    loss = asymmetric_loss(z, positive, known, detach_focusing=True, **FOCUS)
    q = torch.where(positive, z.sigmoid(), ((-z).sigmoid() + 0.05).clamp(max=1.0))
    focus = (1 - q.detach()) ** torch.where(positive, 1.5, 4.0)
    expected = -(focus * q.log())[known].sum()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    gradient, wanted = (torch.autograd.grad(value, z)[0] for value in (loss, expected))
    assert torch.allclose(gradient, wanted, rtol=1e-9)
    whole = torch.autograd.grad(asymmetric_loss(z, positive, known, detach_focusing=False, **FOCUS), z)[0]
    assert not torch.allclose(gradient, whole)


def test_unknown_elements_have_no_gradient() -> None:
    _, mixture, y = random_case(seed=0)
    z = mixture.logits_BK.clone().requires_grad_()
    asymmetric_loss(z, y == 1, y >= 0, detach_focusing=False, **FOCUS).backward()
    assert z.grad is not None
    assert bool((z.grad[y == -1] == 0).all()) and bool((z.grad[y == 1] != 0).all())


def test_clamped_values_get_no_gradient() -> None:
    """A negative within the margin (p + m > 1), and a positive whose probability is below 1e-7."""
    logits_BK = torch.tensor([[-4.0, -20.0, -2.0, 1.0]], dtype=torch.float64, requires_grad=True)
    positive_BK = torch.tensor([[False, True, False, True]])
    loss = asymmetric_loss(
        logits_BK,
        positive_BK,
        torch.ones_like(positive_BK),
        gamma_positive=0.0,
        gamma_negative=0.0,
        clip=0.05,
        detach_focusing=True,
    )
    (gradient_BK,) = torch.autograd.grad(loss, logits_BK)
    assert gradient_BK[0, :2].tolist() == [0.0, 0.0]
    assert gradient_BK[0, 2] > 0 > gradient_BK[0, 3]
