"""Similarities compared with plain loops in float64."""

import math

import pytest
import torch

from kmcl_platform.method.kernels import MixtureSimilarity, Rows, log_norms
from kmcl_platform.method.kernels.mixture_head import KernelMixture, KernelMixtureHead
from tests.method import oracles
from tests.method.cases import KERNELS, random_case


def log_similarity(
    mixture: KernelMixture, sample_P: torch.Tensor, class_P: torch.Tensor, *, dimension_scale: float
) -> torch.Tensor:
    similarity = MixtureSimilarity(*mixture[1:], log_norms(mixture, dimension_scale), dimension_scale)
    return similarity.log_similarity(Rows(sample_P, class_P))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("kernels_per_class", [1, 2, 3])
def test_log_similarity_equals_the_plain_cosine(kernel: str, kernels_per_class: int) -> None:
    _, mixture, _ = random_case(kernels_per_class, kernel=kernel)
    samples, classes = torch.meshgrid(torch.arange(7), torch.arange(4), indexing="ij")
    log_rho = log_similarity(mixture, samples.flatten(), classes.flatten(), dimension_scale=2.5).view(7, 4, 7)
    for n in range(7):
        for k in range(4):
            for j in range(7):
                expected = oracles.similarity(mixture, k, n, j, 2.5)
                assert float(log_rho[n, k, j].exp()) == pytest.approx(expected, rel=1e-9)


def test_shared_variances_become_the_rbf_and_the_mahalanobis_kernel() -> None:
    """If two samples have equal variances, the similarity is exp(-⅛ Σ (μ - μ')² / v)."""
    for kernel in ("rbf", "mahalanobis"):
        _, mixture, _ = random_case(1, kernel=kernel)
        variances = mixture.variances_BKCR[:1].expand_as(mixture.variances_BKCR)
        log_rho = log_similarity(
            mixture._replace(variances_BKCR=variances), torch.tensor([2]), torch.tensor([3]), dimension_scale=1.0
        )
        gap = mixture.means_BKCR[2, 3, 0] - mixture.means_BKCR[:, 3, 0]
        assert torch.allclose(log_rho[0], -0.125 * (gap.square() / variances[0, 0, 0]).sum(1), rtol=1e-12)


def test_log_similarity_of_nearly_equal_kernels_keeps_its_digits_in_float32() -> None:
    variances = torch.tensor([2.0, 2.002]).view(2, 1, 1, 1)
    mixture = KernelMixture(torch.zeros(2, 1), torch.zeros(2, 1, 1, 1), variances, torch.zeros(2, 1, 1))
    log_rho = log_similarity(mixture, torch.tensor([0]), torch.tensor([0]), dimension_scale=2048)
    v, w = 2.0, float(variances[1])
    expected = -2048 * 0.25 * math.log1p((v - w) ** 2 / (4 * v * w))
    assert float(log_rho[0, 1]) == pytest.approx(expected, rel=1e-3)
    assert float(log_rho[0, 0]) == 0.0


def test_log_similarity_is_at_most_zero() -> None:
    torch.manual_seed(0)
    mixture = KernelMixtureHead(num_features=64, num_classes=3, kernels_per_class=3)(torch.randn(8, 64))
    mixture = KernelMixture(*(part.detach() for part in mixture))
    log_rho = log_similarity(mixture, torch.arange(8), torch.zeros(8, dtype=torch.long), dimension_scale=64)
    assert bool((log_rho <= 1e-5).all())
    assert log_rho.diagonal().abs().max() <= 1e-5
