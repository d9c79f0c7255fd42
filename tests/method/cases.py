"""Inputs and settings that the tests of the method share."""

from typing import Any

import torch
from torch import Tensor

from kmcl_platform.method.kernels.mixture_head import KernelMixture
from kmcl_platform.method.losses.kmcl import KmclLoss

TAU = 0.17
SETTINGS: dict[str, Any] = {
    "objective": "kmcl",
    "temperature": TAU,
    "asymmetric_weight": 1.0,
    "reconstruction_weight": 1.0,
    "contrastive_weight": 1.0,
    "gamma_positive": 0.0,
    "gamma_negative": 4.0,
    "clip": 0.05,
    "detach_focusing": True,
}
KERNELS = ("isotropic", "anisotropic", "mahalanobis", "rbf")


def build_loss(**changes: Any) -> KmclLoss:
    return KmclLoss(**(SETTINGS | changes))


def random_case(
    kernels_per_class: int = 1, seed: int = 0, *, kernel: str = "isotropic", sizes: tuple[int, int, int] = (7, 5, 4)
) -> tuple[Tensor, KernelMixture, Tensor]:
    """Features, mixture and targets in float64. One sample has no positive label, and another one no known label."""
    num_samples, num_features, num_classes = sizes
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    shape = (num_samples, num_classes, kernels_per_class)
    size = num_features if kernel in ("anisotropic", "mahalanobis") else 1
    variances = 1.0 + normal(*shape, size).exp()
    if kernel in ("mahalanobis", "rbf"):
        variances = variances[:, :1, :1].expand(*shape, size)
    mixture = KernelMixture(
        normal(num_samples, num_classes) * 2, 0.5 * normal(*shape, size), variances, normal(*shape).log_softmax(-1)
    )
    targets = torch.randint(-1, 2, (num_samples, num_classes), generator=generator)
    targets[1] = targets[1].clamp(max=0)
    targets[2] = -1
    targets[3] = torch.tensor([1, 1, 0, 0])
    targets[4] = torch.tensor([1, 1, 0, 1])
    return normal(num_samples, num_features), mixture, targets
