"""The kernel between features and mixtures, compared with plain loops in float64."""

import pytest
import torch

from kmcl_platform.method.kernels.log_kernel import log_kernel
from kmcl_platform.method.kernels.mixture_head import KernelMixture
from tests.method import oracles
from tests.method.cases import KERNELS, random_case


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("kernels_per_class", [1, 2, 3])
@pytest.mark.parametrize("scale", [1.0, 0.3])
def test_log_kernel_equals_the_plain_sum(kernel: str, kernels_per_class: int, scale: float) -> None:
    features, mixture, _ = random_case(kernels_per_class, kernel=kernel)
    log_g = log_kernel(features, mixture, scale=scale)
    for n in range(7):
        for k in range(4):
            assert float(log_g[n, k].exp()) == pytest.approx(oracles.kernel(features, mixture, n, k, scale), rel=1e-9)


def test_log_kernel_does_not_cancel_in_float32() -> None:
    # The expanded square has no correct digit here: D f² is 2e11, and the distance is 2048.
    mixture = KernelMixture(
        torch.zeros(1, 1), torch.full((1, 1, 1, 1), 9999.0), torch.full((1, 1, 1, 1), 2.0), torch.zeros(1, 1, 1)
    )
    assert float(log_kernel(torch.full((1, 2048), 1e4), mixture)) == pytest.approx(-0.5 * 2048 / 2.0, rel=1e-6)
