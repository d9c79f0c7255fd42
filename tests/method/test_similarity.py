"""Kernels and similarities against plain loops in float64."""

import math

import pytest
import torch
from torch import Tensor

from kmcl_platform.method.kernel_mixture import KernelMixture, KernelMixtureHead
from kmcl_platform.method.similarity import log_kernel, log_similarity

B, D, K = 5, 6, 4


def random_case(kernels_per_class: int, seed: int = 0) -> tuple[Tensor, KernelMixture]:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    means = 0.5 * normal(B, K, kernels_per_class)
    variances = 1.0 + normal(B, K, kernels_per_class).exp()
    log_weights = normal(B, K, kernels_per_class).log_softmax(-1)
    return normal(B, D), KernelMixture(normal(B, K), means, variances, log_weights)


def oracle_kernel(features: Tensor, mixture: KernelMixture, n: int, k: int) -> float:
    total = 0.0
    for c in range(mixture.means_BKC.shape[2]):
        mean, variance = float(mixture.means_BKC[n, k, c]), float(mixture.variances_BKC[n, k, c])
        exponent = sum((float(f) - mean) ** 2 / variance for f in features[n])
        total += math.exp(float(mixture.log_weights_BKC[n, k, c])) * math.exp(-0.5 * exponent)
    return total


def oracle_bhattacharyya(num_features: int, mean_a: float, var_a: float, mean_b: float, var_b: float) -> float:
    per_dimension = 0.5 * math.log((var_a + var_b) / (2 * math.sqrt(var_a * var_b)))
    per_dimension += 0.25 * (mean_a - mean_b) ** 2 / (var_a + var_b)
    return math.exp(-num_features * per_dimension)


def oracle_inner_product(num_features: int, mixture: KernelMixture, k: int, n: int, j: int) -> float:
    total = 0.0
    means, variances, log_weights = mixture.means_BKC, mixture.variances_BKC, mixture.log_weights_BKC
    for c in range(means.shape[2]):
        for d in range(means.shape[2]):
            rho = oracle_bhattacharyya(
                num_features,
                float(means[n, k, c]),
                float(variances[n, k, c]),
                float(means[j, k, d]),
                float(variances[j, k, d]),
            )
            total += math.exp(float(log_weights[n, k, c] + log_weights[j, k, d])) * rho
    return total


@pytest.mark.parametrize("kernels_per_class", [1, 2, 3])
def test_log_kernel_equals_the_plain_sum(kernels_per_class: int) -> None:
    features, mixture = random_case(kernels_per_class)
    log_g = log_kernel(features, mixture)
    for n in range(B):
        for k in range(K):
            assert float(log_g[n, k].exp()) == pytest.approx(oracle_kernel(features, mixture, n, k), rel=1e-9)


@pytest.mark.parametrize("kernels_per_class", [1, 2, 3])
def test_log_similarity_equals_the_plain_cosine(kernels_per_class: int) -> None:
    _, mixture = random_case(kernels_per_class)
    samples, classes = torch.meshgrid(torch.arange(B), torch.arange(K), indexing="ij")
    log_rho = log_similarity(D, mixture, samples.flatten(), classes.flatten()).view(B, K, B)
    for n in range(B):
        for k in range(K):
            for j in range(B):
                own = oracle_inner_product(D, mixture, k, n, n) * oracle_inner_product(D, mixture, k, j, j)
                expected = oracle_inner_product(D, mixture, k, n, j) / math.sqrt(own)
                assert float(log_rho[n, k, j].exp()) == pytest.approx(expected, rel=1e-9)


def test_log_kernel_does_not_cancel_in_float32() -> None:
    # Expanding the square loses every digit here: D f² is 2e11 and the distance is 2048.
    features = torch.full((1, 2048), 1e4)
    mixture = KernelMixture(
        *(torch.full(shape, value) for shape, value in (((1, 1), 0.0), ((1, 1, 1), 9999.0))),
        *(torch.full((1, 1, 1), value) for value in (2.0, 0.0)),
    )
    assert float(log_kernel(features, mixture)) == pytest.approx(-0.5 * 2048 / 2.0, rel=1e-6)


def test_log_similarity_of_nearly_equal_kernels_keeps_its_digits_in_float32() -> None:
    variances = torch.tensor([2.0, 2.002]).view(2, 1, 1)
    zeros = torch.zeros(2, 1, 1)
    mixture = KernelMixture(torch.zeros(2, 1), zeros, variances, zeros)
    log_rho = log_similarity(2048, mixture, torch.tensor([0]), torch.tensor([0]))
    expected = -2048 * 0.5 * math.log1p((math.sqrt(2.0) - math.sqrt(2.002)) ** 2 / (2 * math.sqrt(2.0 * 2.002)))
    assert float(log_rho[0, 1]) == pytest.approx(expected, rel=1e-3)
    assert float(log_rho[0, 0]) == 0.0


def test_log_similarity_is_at_most_zero() -> None:
    torch.manual_seed(0)
    mixture = KernelMixtureHead(num_features=64, num_classes=3, kernels_per_class=3)(torch.randn(8, 64))
    log_rho = log_similarity(64, mixture, torch.arange(8), torch.zeros(8, dtype=torch.long))
    assert bool((log_rho <= 1e-5).all())
    assert log_rho.diagonal().abs().max() <= 1e-5
