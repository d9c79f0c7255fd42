"""The reconstruction loss compared with plain loops, in both formulations."""

from functools import partial

import pytest
import torch
from torch import Tensor

from kmcl_platform.method.kernels.mixture_head import KernelMixture
from kmcl_platform.method.losses.reconstruction import reconstruction_loss, released_reconstruction_loss
from tests.method import oracles
from tests.method.cases import KERNELS, random_case


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("kernels_per_class", [1, 3])
def test_values_equal_the_oracle(kernel: str, kernels_per_class: int) -> None:
    for seed in range(3):
        f, mixture, y = random_case(kernels_per_class, seed, kernel=kernel)
        corrected = oracles.reconstruction(f, mixture, y)
        assert 0 < len(corrected) < len(y)  # unlabelled samples are left out
        assert reconstruction_loss(f, mixture, y == 1, y >= 0).item() == pytest.approx(sum(corrected), rel=1e-6)
        scaled = oracles.reconstruction(f, mixture, y, scale=0.2)
        value = reconstruction_loss(f, mixture, y == 1, y >= 0, kernel_scale=0.2).item()
        assert value == pytest.approx(sum(scaled), rel=1e-6)
        released = oracles.reconstruction(f, mixture, y, released=True)
        value = released_reconstruction_loss(f, mixture, y == 1, y >= 0).item()
        assert value == pytest.approx(sum(released), rel=1e-6)


@pytest.mark.parametrize(
    "form", [reconstruction_loss, released_reconstruction_loss, partial(reconstruction_loss, kernel_scale=0.2)]
)
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("kernels_per_class", [1, 2])
def test_the_derivative_passes_gradcheck(form: object, kernel: str, kernels_per_class: int) -> None:
    f, mixture, y = random_case(kernels_per_class, 4, kernel=kernel, sizes=(5, 3, 4))

    def compute(f: Tensor, z: Tensor, mu: Tensor, v: Tensor, log_alpha: Tensor) -> Tensor:
        return form(f, KernelMixture(z, mu, v, log_alpha), y == 1, y >= 0)  # type: ignore[operator]

    # As in test_contrastive.py: complete for one case of each kernel, along random directions for the others.
    fast = (kernels_per_class, form) != (2, reconstruction_loss)
    assert torch.autograd.gradcheck(compute, [part.clone().requires_grad_() for part in (f, *mixture)], fast_mode=fast)


def test_a_batch_without_positives_gives_zero_with_a_graph() -> None:
    f, mixture, _ = random_case()
    means = mixture.means_BKCR.clone().requires_grad_()
    y = torch.zeros(7, 4)
    loss = reconstruction_loss(f, mixture._replace(means_BKCR=means), y == 1, y >= 0)
    assert loss.item() == 0.0
    loss.backward()
    assert means.grad is not None and bool((means.grad == 0).all())


def test_corrected_has_a_gradient_where_released_underflows() -> None:
    torch.manual_seed(0)
    f = torch.randn(6, 2048)
    y = torch.tensor([[1, 0, 0, 1]] * 6)
    shape = (6, 4, 1, 1)
    gradients = []
    for form in (reconstruction_loss, released_reconstruction_loss):
        means = torch.rand(shape, generator=torch.Generator().manual_seed(1)).requires_grad_()
        mixture = KernelMixture(torch.zeros(6, 4), means, torch.full(shape, 1.5), torch.zeros(6, 4, 1))
        form(f, mixture, y == 1, y >= 0).backward()
        gradients.append(means.grad)
    assert bool((gradients[0] != 0).any())
    assert bool((gradients[1] == 0).all())
