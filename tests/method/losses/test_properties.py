"""Properties of the objective for every input: finite numbers, and a gradient that points uphill."""

import math
from typing import Any

import torch
from hypothesis import HealthCheck, example, given, settings, strategies as st
from torch import Tensor

from kmcl_platform.method.kernels.mixture_head import KernelMixture, KernelMixtureHead
from tests.method.cases import KERNELS, build_loss

CASES = st.fixed_dictionaries(
    {
        "num_samples": st.integers(1, 9),
        "num_features": st.sampled_from([1, 3, 64]),
        "num_classes": st.integers(1, 6),
        "kernels_per_class": st.integers(1, 3),
        "kernel": st.sampled_from(KERNELS),
        "formulation": st.sampled_from(["corrected", "released"]),
        "kernel_scale": st.sampled_from(["total", "per_feature"]),
        "labels": st.sampled_from(["sparse", "dense", "disjoint", "positive", "negative", "unknown", "mixed"]),
        "exponents": st.lists(st.integers(-6, 4), min_size=1, max_size=9),
        "gamma": st.sampled_from([0.0, 0.5, 4.0]),
        "seed": st.integers(0, 10_000),
    }
)
WIDE: dict[str, Any] = {
    "num_samples": 6,
    "num_features": 2048,
    "num_classes": 3,
    "kernels_per_class": 1,
    "kernel": "isotropic",
    "formulation": "corrected",
    "kernel_scale": "total",
    "labels": "mixed",
    "exponents": [-6, 4, 0],
    "gamma": 4.0,
    "seed": 0,
}


def draw_labels(kind: str, num_samples: int, num_classes: int) -> Tensor:
    shape = (num_samples, num_classes)
    match kind:
        case "sparse":
            return (torch.rand(shape) < 0.2).long()
        case "dense":
            return (torch.rand(shape) < 0.8).long()
        case "disjoint":  # no two samples share a class, if there are enough classes
            return torch.eye(max(shape), dtype=torch.long)[:num_samples, :num_classes]
        case "mixed":
            return torch.randint(-1, 2, shape)
        case _:
            return torch.full(shape, {"positive": 1, "negative": 0, "unknown": -1}[kind])


def draw(case: dict[str, Any], dtype: torch.dtype) -> tuple[Tensor, KernelMixtureHead, Tensor]:
    torch.manual_seed(case["seed"])
    exponents = [case["exponents"][i % len(case["exponents"])] for i in range(case["num_samples"])]
    scale = torch.tensor([10.0**exponent for exponent in exponents], dtype=dtype).view(-1, 1)
    features = torch.randn(case["num_samples"], case["num_features"], dtype=dtype) * scale
    features[::2].abs_()
    head = KernelMixtureHead(
        num_features=case["num_features"],
        num_classes=case["num_classes"],
        kernels_per_class=case["kernels_per_class"],
        kernel=case["kernel"],
    ).to(dtype)
    return features, head, draw_labels(case["labels"], case["num_samples"], case["num_classes"])


def objective(case: dict[str, Any], **changes: Any) -> Any:
    return build_loss(
        formulation=case["formulation"],
        kernel_scale=case["kernel_scale"],
        gamma_positive=case["gamma"],
        gamma_negative=case["gamma"],
        **changes,
    )


@given(case=CASES)
@example(case=WIDE)
@example(case=WIDE | {"formulation": "released"})
@example(case=WIDE | {"kernel": "rbf", "kernels_per_class": 3, "exponents": [4]})
@example(case=WIDE | {"kernel": "anisotropic", "exponents": [4, -6]})
@example(case=WIDE | {"kernel": "mahalanobis", "kernels_per_class": 2, "formulation": "released"})
@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
def test_values_and_gradients_are_finite_in_float32(case: dict[str, Any]) -> None:
    features, head, y = draw(case, torch.float32)
    features.requires_grad_()
    for detach in (False, True):
        head.zero_grad()
        features.grad = None
        parts = objective(case, detach_focusing=detach)(features, head(features), y)
        parts.total.backward()
        assert all(math.isfinite(part.item()) for part in parts), parts
        gradients = {"features": features.grad} | {name: p.grad for name, p in head.named_parameters()}
        for name, gradient in gradients.items():
            assert gradient is not None and bool(gradient.isfinite().all()), name


@given(case=CASES)
@example(case=WIDE)
@example(case=WIDE | {"kernel": "anisotropic", "exponents": [0]})
@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
def test_a_small_step_against_the_gradient_lowers_the_loss(case: dict[str, Any]) -> None:
    features, head, y = draw(case, torch.float64)
    with torch.no_grad():
        leaves = [part.clone() for part in (features, *head(features))]
    for leaf in leaves:
        leaf.requires_grad_()
    loss = objective(case, detach_focusing=False)

    def value(tensors: list[Tensor]) -> Tensor:
        total: Tensor = loss(tensors[0], KernelMixture(*tensors[1:]), y).total
        return total

    start = value(leaves)
    gradients = torch.autograd.grad(start, leaves, allow_unused=True)
    slopes = [torch.zeros_like(leaf) if g is None else g for leaf, g in zip(leaves, gradients, strict=True)]
    for i, slope in enumerate(slopes):
        size = slope.norm().item()
        # If the gradient is smaller, only a large step changes a float64 loss measurably.
        if size <= 1e-8 * max(1.0, abs(start.item())):
            continue
        for exponent in range(0, -14, -1):
            moved = [leaf.detach() for leaf in leaves]
            moved[i] = moved[i] - 10.0**exponent / size * slope
            if value(moved) < start:
                break
        else:
            raise AssertionError(f"input {i}: no step along -gradient of norm {size} lowers {start.item()}")
