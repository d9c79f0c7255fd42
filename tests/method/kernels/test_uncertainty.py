"""Uncertainties compared with plain loops in float64."""

import math

import pytest
import torch

from kmcl_platform.method.kernels.mixture_head import KernelMixture, KernelMixtureHead
from kmcl_platform.method.kernels.uncertainty import label_uncertainty
from tests.method.cases import KERNELS, random_case


def oracle(mixture: KernelMixture, n: int, k: int) -> float:
    """1 - 1/v̄, v̄ = Σ_c α_c (Π_r v_cr)^(1/R)."""
    weighted = 0.0
    for c in range(mixture.variances_BKCR.shape[2]):
        values = [float(v) for v in mixture.variances_BKCR[n, k, c]]
        weighted += math.exp(float(mixture.log_weights_BKC[n, k, c])) * math.prod(values) ** (1 / len(values))
    return 1 - 1 / weighted


def of_variances(*variances: float, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Uncertainties of one sample's classes with one kernel each."""
    shape = (1, len(variances))
    values = torch.tensor(variances, dtype=dtype).view(*shape, 1, 1)
    zeros = torch.zeros(shape, dtype=dtype)
    return label_uncertainty(KernelMixture(zeros, torch.zeros_like(values), values, zeros.unsqueeze(2)))[0]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("kernels_per_class", [1, 3])
def test_uncertainty_equals_the_plain_sum(kernel: str, kernels_per_class: int) -> None:
    _, mixture, _ = random_case(kernels_per_class, kernel=kernel)
    uncertainty = label_uncertainty(mixture)
    assert uncertainty.shape == mixture.logits_BK.shape
    for n in range(7):
        for k in range(4):
            assert float(uncertainty[n, k]) == pytest.approx(oracle(mixture, n, k), rel=1e-12)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("kernels_per_class", [1, 3])
def test_uncertainty_of_a_head_is_in_its_range(kernel: str, kernels_per_class: int) -> None:
    """Also for features with variances at their lower limit, where the rounding of the weights matters."""
    torch.manual_seed(0)
    head = KernelMixtureHead(num_features=16, num_classes=5, kernels_per_class=kernels_per_class, kernel=kernel)
    features = torch.randn(64, 16) * torch.logspace(-2, 3, 64).unsqueeze(1)
    uncertainty = label_uncertainty(head(features))
    assert uncertainty.dtype == torch.float32
    assert bool(((uncertainty >= 0) & (uncertainty < 1)).all())


def test_uncertainty_rises_with_the_variance() -> None:
    uncertainty = of_variances(1 + 1e-7, 1.5, 2.0, 10.0, 1e4)
    assert bool((uncertainty.diff() > 0).all())
    assert uncertainty.tolist() == pytest.approx([1e-7, 1 / 3, 0.5, 0.9, 1 - 1e-4], rel=1e-6)


def test_uncertainty_near_zero_keeps_its_digits_in_float32() -> None:
    assert float(of_variances(1 + 2**-20, dtype=torch.float32)[0]) == pytest.approx(2**-20, rel=1e-5)


@pytest.mark.parametrize("kernel", ["mahalanobis", "rbf"])
@pytest.mark.parametrize("kernels_per_class", [1, 3])
def test_a_shared_variance_gives_all_labels_of_an_image_the_same(kernel: str, kernels_per_class: int) -> None:
    _, mixture, _ = random_case(kernels_per_class, kernel=kernel)
    uncertainty = label_uncertainty(mixture)
    assert torch.allclose(uncertainty, uncertainty[:, :1].expand_as(uncertainty), rtol=1e-12)
    assert len(uncertainty[:, 0].unique()) == len(uncertainty)
