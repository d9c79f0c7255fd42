"""The objective as a module: weights, formulations, baselines, unusual batches, and errors."""

import math
from typing import Any

import pytest
import torch

from kmcl_platform.method.kernels.mixture_head import KernelMixture, KernelMixtureHead
from kmcl_platform.method.losses import LossParts
from tests.method import oracles
from tests.method.cases import KERNELS, TAU, build_loss, random_case

FOCUS = {"gamma_positive": 0.0, "gamma_negative": 4.0, "clip": 0.05}


@pytest.mark.parametrize("formulation", ["corrected", "released"])
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0), (0.5, 2.0, 3.0), (0.0, 0.0, 2.0)])
def test_total_is_the_weighted_sum_of_the_means(
    weights: tuple[float, float, float], kernel: str, formulation: str
) -> None:
    """Each row of the table of formulations in docs/method.md, for one worker."""
    f, mixture, y = random_case(2, 3, kernel=kernel)
    names = ("asymmetric_weight", "reconstruction_weight", "contrastive_weight")
    parts = build_loss(formulation=formulation, **dict(zip(names, weights, strict=True)))(f, mixture, y)
    num_samples, num_features = f.shape
    released = formulation == "released"
    # Isotropic: D times one term. Anisotropic: a sum over D, which the released code multiplies by D once more.
    factor = num_features if released or mixture.means_BKCR.shape[3] == 1 else 1
    reconstruction = oracles.reconstruction(f, mixture, y, released=released)
    expected = (
        oracles.asymmetric(mixture.logits_BK, y, **FOCUS) / (1 if released else num_samples),
        sum(reconstruction) / len(reconstruction),
        sum(oracles.contrastive(mixture, y, TAU, factor, released=released)) / num_samples,
    )
    assert len(reconstruction) == num_samples if released else len(reconstruction) < num_samples
    assert [part.item() for part in parts[1:]] == pytest.approx(expected, rel=1e-6)
    assert parts.total.item() == pytest.approx(sum(w * e for w, e in zip(weights, expected, strict=True)), rel=1e-6)
    assert all(part.dim() == 0 and part.dtype == torch.float64 for part in parts)
    assert not any(part.requires_grad for part in parts[1:])


@pytest.mark.parametrize("kernels_per_class", [1, 2])
@pytest.mark.parametrize("kernel", KERNELS)
def test_per_feature_divides_both_kernel_terms_by_the_features(kernel: str, kernels_per_class: int) -> None:
    f, mixture, y = random_case(kernels_per_class, 3, kernel=kernel)
    parts = build_loss(kernel_scale="per_feature")(f, mixture, y)
    num_features = f.shape[1]
    # R = 1: D times one term, divided by D. R = D: a sum over D, divided by D.
    factor = 1.0 if mixture.means_BKCR.shape[3] == 1 else 1 / num_features
    assert parts.contrastive.item() == pytest.approx(sum(oracles.contrastive(mixture, y, TAU, factor)) / 7, rel=1e-6)
    reconstruction = oracles.reconstruction(f, mixture, y, scale=1 / num_features)
    assert parts.reconstruction.item() == pytest.approx(sum(reconstruction) / len(reconstruction), rel=1e-6)


@pytest.mark.parametrize("kernel", KERNELS)
def test_per_feature_is_the_same_for_repeated_features(kernel: str) -> None:
    """What `total` is not: features that are there twice double its exponents."""
    f, mixture, y = random_case(2, 3, kernel=kernel)
    repeats = (1, 1, 1, 2 if mixture.means_BKCR.shape[3] > 1 else 1)
    twice = mixture._replace(
        means_BKCR=mixture.means_BKCR.repeat(repeats), variances_BKCR=mixture.variances_BKCR.repeat(repeats)
    )
    for scale, equal in (("per_feature", True), ("total", False)):
        loss = build_loss(kernel_scale=scale)
        once, again = loss(f, mixture, y), loss(torch.cat((f, f), 1), twice, y)
        for term in ("reconstruction", "contrastive"):
            assert (getattr(again, term).item() == pytest.approx(getattr(once, term).item(), rel=1e-9)) is equal


@pytest.mark.parametrize("kernel", KERNELS)
def test_released_ignores_the_scale_of_the_kernels(kernel: str) -> None:
    f, mixture, y = random_case(1, 3, kernel=kernel)
    parts = [build_loss(formulation="released", kernel_scale=s)(f, mixture, y) for s in ("total", "per_feature")]
    assert parts[0] == parts[1]


@pytest.mark.parametrize("formulation", ["corrected", "released"])
@pytest.mark.parametrize("kernel", KERNELS)
def test_identical_components_equal_one_kernel(kernel: str, formulation: str) -> None:
    f, mixture, y = random_case(1, 5, kernel=kernel)
    weights = torch.randn(7, 4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64).log_softmax(-1)
    one = mixture._replace(log_weights_BKC=torch.zeros_like(mixture.log_weights_BKC))
    means, variances = (part.expand(-1, -1, 3, -1) for part in mixture[1:3])
    three = KernelMixture(mixture.logits_BK, means, variances, weights)
    single, triple = (build_loss(formulation=formulation)(f, case, y) for case in (one, three))
    assert [part.item() for part in triple] == pytest.approx([part.item() for part in single], rel=1e-12)


@pytest.mark.parametrize("formulation", ["corrected", "released"])
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("kernels_per_class", [1, 3])
def test_float32_agrees_with_float64(kernels_per_class: int, kernel: str, formulation: str) -> None:
    f, mixture, y = random_case(kernels_per_class, 2, kernel=kernel, sizes=(12, 6, 4))
    results = []
    for dtype in (torch.float64, torch.float32):
        leaves = [part.to(dtype).requires_grad_() for part in (f, *mixture)]
        parts = build_loss(formulation=formulation)(leaves[0], KernelMixture(*leaves[1:]), y)
        gradients = torch.autograd.grad(parts.total, leaves[: 5 if kernels_per_class > 1 else 4])
        results.append([*parts, *gradients])
    for exact, rounded in zip(*results, strict=True):
        assert (exact - rounded.double()).norm() <= 1e-4 * exact.norm()


def test_unknown_labels_carry_no_gradient_of_their_own() -> None:
    f, mixture, y = random_case(1, 0)
    leaves = [part.clone().requires_grad_() for part in mixture]
    build_loss()(f, KernelMixture._make(leaves), y).total.backward()
    for leaf in leaves[:3]:
        assert leaf.grad is not None
        assert bool((leaf.grad[y == -1] == 0).all())
        assert bool((leaf.grad[y == 1] != 0).all())


@pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.float32])
def test_the_type_of_the_targets_does_not_matter(dtype: torch.dtype) -> None:
    f, mixture, y = random_case(2, 6)
    assert build_loss()(f, mixture, y.to(dtype)) == build_loss()(f, mixture, y)


def test_loss_is_computed_in_float32_under_autocast() -> None:
    f, mixture, y = random_case(1, 0)
    f, mixture = f.bfloat16(), KernelMixture(*(part.bfloat16() for part in mixture))
    expected = build_loss()(f.float(), KernelMixture(*(part.float() for part in mixture)), y)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        parts = build_loss()(f, mixture, y)
    assert parts == expected
    assert parts.total.dtype == torch.float32


@pytest.mark.parametrize("objective", ["asymmetric", "bce"])
def test_baselines_use_the_logits_alone(objective: str) -> None:
    f, mixture, y = random_case(1, 0)
    logits = mixture.logits_BK.clone().requires_grad_()
    nan = KernelMixture(logits, *(part * torch.nan for part in mixture[1:]))
    loss = build_loss(objective=objective, asymmetric_weight=0.5)
    parts = loss(f * torch.nan, nan, y)
    expected = (
        oracles.binary_cross_entropy(mixture.logits_BK, y)
        if objective == "bce"
        else oracles.asymmetric(mixture.logits_BK, y, **FOCUS)
    ) / len(y)
    assert [part.item() for part in parts] == pytest.approx([0.5 * expected, expected, 0.0, 0.0], rel=1e-6)
    parts.total.backward()
    assert logits.grad is not None and bool(logits.grad.isfinite().all())
    assert not loss.uses_kernels
    assert build_loss().uses_kernels


def test_a_term_of_weight_zero_cannot_reach_the_total() -> None:
    f, mixture, y = random_case(1, 0)
    leaves = [mixture.logits_BK.clone().requires_grad_(), *(part * torch.nan for part in mixture[1:])]
    parts = build_loss(reconstruction_weight=0.0, contrastive_weight=0.0)(f, KernelMixture._make(leaves), y)
    assert math.isnan(parts.reconstruction.item()) and math.isnan(parts.contrastive.item())
    assert parts.total == parts.asymmetric
    parts.total.backward()
    assert bool(leaves[0].grad.isfinite().all())


def test_every_parameter_of_the_head_gets_a_gradient_without_pairs_too() -> None:
    head = KernelMixtureHead(num_features=3, num_classes=2, kernels_per_class=2)
    features = torch.randn(1, 3, requires_grad=True)
    build_loss()(features, head(features), torch.tensor([[1, 0]])).total.backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in (*head.parameters(), features))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objective": "asl"}, "objective: got 'asl'; valid: kmcl, asymmetric, bce"),
        ({"formulation": "mine"}, "formulation: got 'mine'; valid: corrected, released"),
        ({"kernel_scale": "none"}, "kernel_scale: got 'none'; valid: total, per_feature"),
        ({"temperature": 0.0}, "temperature: got 0.0; valid: a finite number above 0"),
        ({"temperature": math.nan}, "temperature: got nan"),
        ({"clip": 1.0}, r"clip: got 1.0; valid: a number of at least 0 and below 1"),
        ({"label_smoothing": 1.0}, r"label_smoothing: got 1.0; valid: a number of at least 0 and below 1"),
        ({"max_labels": 0}, "max_labels: got 0; valid: a number of at least 1"),
        ({"gamma_negative": -1.0}, "gamma_negative: got -1.0; valid:"),
        ({"contrastive_weight": math.inf}, "contrastive_weight: got inf; valid:"),
        ({"contrastive_weight": -1.0}, "contrastive_weight: got -1.0; valid: a finite number of at least 0"),
        (
            {"objective": "bce", "asymmetric_weight": 0.0},
            "asymmetric_weight: got 0; valid: a weight above 0 for a term of objective 'bce'",
        ),
    ],
)
def test_bad_settings_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_loss(**changes)


def test_bad_inputs_are_refused() -> None:
    f, mixture, y = random_case(1, 0)
    with pytest.raises(ValueError, match=r"targets_BK: got shape \(7, 3\); valid: \(7, 4\)"):
        build_loss()(f, mixture, y[:, :3])
    with pytest.raises(ValueError, match="targets_BK: got the value 2; valid: 1 positive, 0 negative, -1 unknown"):
        build_loss()(f, mixture, y.masked_fill(y == 1, 2))
    with pytest.raises(ValueError, match=r"logits_BK: got shape \(7, 4\); valid: \(5, classes\)"):
        build_loss()(f[:5], mixture, y)
    with pytest.raises(ValueError, match=r"variances_BKCR: got shape \(7, 4, 1\); valid: \(7, 4, 1, 1\)"):
        build_loss()(f, mixture._replace(variances_BKCR=mixture.variances_BKCR.squeeze(2)), y)
    with pytest.raises(ValueError, match=r"log_weights_BKC: got shape \(7, 4, 2\); valid: \(7, 4, 1\)"):
        build_loss()(f, mixture._replace(log_weights_BKC=torch.zeros(7, 4, 2)), y)
    with pytest.raises(
        ValueError, match=r"means_BKCR: got shape \(7, 4, 0, 1\); valid: \(7, 4, kernels per class, 1 or 5"
    ):
        build_loss()(f, mixture._replace(means_BKCR=torch.zeros(7, 4, 0, 1)), y)
    with pytest.raises(ValueError, match="means_BKCR: got 3 values for each kernel; valid: 1 or 5, the features"):
        build_loss()(f, mixture._replace(means_BKCR=torch.zeros(7, 4, 1, 3)), y)
    with pytest.raises(ValueError, match="features_BD: got shape"):
        build_loss()(f[0], mixture, y)


def test_the_parts_have_their_names() -> None:
    assert LossParts._fields == ("total", "asymmetric", "reconstruction", "contrastive")
