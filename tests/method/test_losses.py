"""Every loss against a plain-loop transcription of METHOD.md in float64, and its behaviour at the edges."""

import math
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kmcl_platform.method.kernel_mixture import KernelMixture, KernelMixtureHead
from kmcl_platform.method.losses import (
    KmclLoss,
    LossParts,
    asymmetric_loss,
    binary_cross_entropy,
    contrastive_loss,
    reconstruction_loss,
)

TAU = 0.17
ASYMMETRIC: dict[str, Any] = {"gamma_positive": 1.5, "gamma_negative": 4.0, "clip": 0.05, "detach_focusing": False}
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


def build_loss(**changes: Any) -> KmclLoss:
    return KmclLoss(**(SETTINGS | changes))


# --- Oracles: lists and floats, one line per line of METHOD.md -------------------------------------------------------


def oracle_asymmetric(z: Tensor, y: Tensor, *, gamma_positive: float, gamma_negative: float, clip: float) -> float:
    total = 0.0
    for n in range(len(y)):
        for k in range(y.shape[1]):
            p = 1 / (1 + math.exp(-float(z[n, k])))
            q = min(1 - p + clip, 1.0)
            if y[n, k] == 1:
                total -= (1 - p) ** gamma_positive * math.log(max(p, 1e-7))
            elif y[n, k] == 0:
                total -= (1 - q) ** gamma_negative * math.log(max(q, 1e-7))
    return total / len(y)


def oracle_bce(z: Tensor, y: Tensor) -> float:
    total = 0.0
    for n in range(len(y)):
        for k in range(y.shape[1]):
            p = 1 / (1 + math.exp(-float(z[n, k])))
            if y[n, k] == 1:
                total -= math.log(p)
            elif y[n, k] == 0:
                total -= math.log(1 - p)
    return total / len(y)


def oracle_reconstruction(f: Tensor, mixture: KernelMixture, y: Tensor) -> float:
    values = []
    for n in range(len(y)):
        positive = everything = 0.0
        for k in range(y.shape[1]):
            g = 0.0
            for c in range(mixture.means_BKC.shape[2]):
                mean, variance = float(mixture.means_BKC[n, k, c]), float(mixture.variances_BKC[n, k, c])
                distance = sum((float(x) - mean) ** 2 / variance for x in f[n])
                g += math.exp(float(mixture.log_weights_BKC[n, k, c])) * math.exp(-0.5 * distance)
            pi = 1 / (1 + math.exp(-float(mixture.logits_BK[n, k])))
            positive += pi * g if y[n, k] == 1 else 0.0
            everything += pi * g if y[n, k] >= 0 else 0.0
        if bool((y[n] == 1).any()):
            values.append(-math.log(positive / everything))
    return sum(values) / len(values) if values else 0.0


def oracle_similarity(num_features: int, mixture: KernelMixture, k: int, n: int, j: int) -> float:
    mu, v, log_alpha = mixture.means_BKC, mixture.variances_BKC, mixture.log_weights_BKC

    def inner(a: int, b: int) -> float:
        total = 0.0
        for c in range(mu.shape[2]):
            for d in range(mu.shape[2]):
                va, vb = float(v[a, k, c]), float(v[b, k, d])
                one = 0.5 * math.log((va + vb) / (2 * math.sqrt(va * vb)))
                one += 0.25 * float(mu[a, k, c] - mu[b, k, d]) ** 2 / (va + vb)
                total += math.exp(float(log_alpha[a, k, c] + log_alpha[b, k, d]) - num_features * one)
        return total

    return inner(n, j) / math.sqrt(inner(n, n) * inner(j, j))


def oracle_contrastive(num_features: int, mixture: KernelMixture, y: Tensor, tau: float) -> float:
    num_samples, num_classes = y.shape
    total = 0.0
    for n in range(num_samples):
        jaccard: dict[int, float] = {}
        for j in range(num_samples):
            both_known = [k for k in range(num_classes) if y[n, k] >= 0 and y[j, k] >= 0]
            shared = [k for k in both_known if y[n, k] == 1 and y[j, k] == 1]
            either = [k for k in both_known if y[n, k] == 1 or y[j, k] == 1]
            if j != n and shared:
                jaccard[j] = len(shared) / len(either)
        for j, weight in jaccard.items():
            for k in range(num_classes):
                if y[n, k] == 1 and y[j, k] == 1:
                    others = [i for i in range(num_samples) if i != n and y[i, k] >= 0]
                    log_sum = math.log(
                        sum(math.exp(oracle_similarity(num_features, mixture, k, n, i) / tau) for i in others)
                    )
                    rho = oracle_similarity(num_features, mixture, k, n, j)
                    total -= weight / len(jaccard) * (rho / tau - log_sum)
    return total / num_samples


# --- Cases -----------------------------------------------------------------------------------------------------------


def random_case(kernels_per_class: int, seed: int, sizes: tuple[int, int, int] = (7, 5, 4)) -> tuple[Any, ...]:
    """Features, mixture, targets: with unknown labels, a sample without positives, one without known labels."""
    num_samples, num_features, num_classes = sizes
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    shape = (num_samples, num_classes, kernels_per_class)
    mixture = KernelMixture(
        normal(num_samples, num_classes) * 2,
        0.5 * normal(*shape),
        1.0 + normal(*shape).exp(),
        normal(*shape).log_softmax(-1),
    )
    targets = torch.randint(-1, 2, (num_samples, num_classes), generator=generator)
    targets[1] = targets[1].clamp(max=0)
    targets[2] = -1
    targets[3] = torch.tensor([1, 1, 0, 0])
    targets[4] = torch.tensor([1, 1, 0, 1])
    return normal(num_samples, num_features), mixture, targets


CASES = [(c, seed) for c in (1, 2, 3) for seed in (0, 1, 2)]


@pytest.mark.parametrize(("kernels_per_class", "seed"), CASES)
def test_terms_equal_the_oracle(kernels_per_class: int, seed: int) -> None:
    f, mixture, y = random_case(kernels_per_class, seed)
    known = y >= 0
    asymmetric = {name: value for name, value in ASYMMETRIC.items() if name != "detach_focusing"}
    assert float(asymmetric_loss(mixture.logits_BK, y, known, **ASYMMETRIC)) == pytest.approx(
        oracle_asymmetric(mixture.logits_BK, y, **asymmetric), rel=1e-6
    )
    assert float(binary_cross_entropy(mixture.logits_BK, y, known)) == pytest.approx(
        oracle_bce(mixture.logits_BK, y), rel=1e-6
    )
    assert float(reconstruction_loss(f, mixture, y, known)) == pytest.approx(
        oracle_reconstruction(f, mixture, y), rel=1e-6
    )
    expected = oracle_contrastive(f.shape[1], mixture, y, TAU)
    assert expected != 0
    assert float(contrastive_loss(f.shape[1], mixture, y, known, temperature=TAU)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    "changes", [{}, {"asymmetric_weight": 0.5, "reconstruction_weight": 2, "contrastive_weight": 3}]
)
def test_total_is_the_weighted_sum_of_the_terms(changes: dict[str, float]) -> None:
    f, mixture, y = random_case(2, 3)
    parts = build_loss(**changes)(f, mixture, y)
    gammas = {"gamma_positive": 0.0, "gamma_negative": 4.0, "clip": 0.05}
    expected = (
        oracle_asymmetric(mixture.logits_BK, y, **gammas),
        oracle_reconstruction(f, mixture, y),
        oracle_contrastive(f.shape[1], mixture, y, TAU),
    )
    assert [part.item() for part in parts[1:]] == pytest.approx(expected, rel=1e-6)
    weights = [changes.get(f"{name}_weight", 1.0) for name in LossParts._fields[1:]]
    assert parts.total.item() == pytest.approx(sum(w * e for w, e in zip(weights, expected, strict=True)), rel=1e-6)
    assert all(part.dim() == 0 and part.dtype == torch.float64 for part in parts)


@pytest.mark.parametrize("clip", [0.0, 0.05, 0.5])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 4.0])
def test_asymmetric_at_extreme_logits(clip: float, gamma: float) -> None:
    z = torch.tensor([[-30.0, -3.0, 0.0, 3.0, 30.0]] * 2, dtype=torch.float64, requires_grad=True)
    y = torch.tensor([[1] * 5, [0] * 5])
    loss = asymmetric_loss(z, y, y >= 0, gamma_positive=gamma, gamma_negative=gamma, clip=clip, detach_focusing=False)
    expected = oracle_asymmetric(z.detach(), y, gamma_positive=gamma, gamma_negative=gamma, clip=clip)
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    loss.backward()
    assert z.grad is not None and bool(z.grad.isfinite().all())


def test_detached_focusing_changes_the_gradient_only() -> None:
    _, mixture, y = random_case(1, 0)
    values, gradients = [], []
    for detach in (False, True):
        z = mixture.logits_BK.clone().requires_grad_()
        loss = asymmetric_loss(z, y, y >= 0, **(ASYMMETRIC | {"detach_focusing": detach}))
        values.append(loss.item())
        gradients.append(torch.autograd.grad(loss, z)[0])
    assert values[0] == values[1]
    assert not torch.allclose(gradients[0], gradients[1])


# --- Gradients -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernels_per_class", [1, 2])
@pytest.mark.parametrize("term", ["asymmetric", "bce", "reconstruction", "contrastive"])
def test_gradcheck(term: str, kernels_per_class: int) -> None:
    f, mixture, y = random_case(kernels_per_class, 4, sizes=(5, 3, 4))
    known = y >= 0

    def compute(f: Tensor, z: Tensor, mu: Tensor, v: Tensor, log_alpha: Tensor) -> Tensor:
        perturbed = KernelMixture(z, mu, v, log_alpha)
        terms: dict[str, Callable[[], Tensor]] = {
            "asymmetric": lambda: asymmetric_loss(z, y, known, **ASYMMETRIC),
            "bce": lambda: binary_cross_entropy(z, y, known),
            "reconstruction": lambda: reconstruction_loss(f, perturbed, y, known),
            "contrastive": lambda: contrastive_loss(f.shape[1], perturbed, y, known, temperature=TAU),
        }
        return terms[term]()

    inputs = [part.clone().requires_grad_() for part in (f, *mixture)]
    assert term != "contrastive" or compute(*inputs).item() != 0
    assert torch.autograd.gradcheck(compute, inputs)


# --- Invariants ------------------------------------------------------------------------------------------------------


def test_identical_components_equal_one_kernel() -> None:
    f, mixture, y = random_case(1, 5)
    weights = torch.randn(7, 4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64).log_softmax(-1)
    one = KernelMixture(*mixture[:3], torch.zeros_like(mixture.means_BKC))
    three = KernelMixture(
        mixture.logits_BK, mixture.means_BKC.expand(-1, -1, 3), mixture.variances_BKC.expand(-1, -1, 3), weights
    )
    single, triple = build_loss()(f, one, y), build_loss()(f, three, y)
    assert [part.item() for part in triple] == pytest.approx([part.item() for part in single], rel=1e-12)


def test_unknown_labels_carry_no_gradient_of_their_own() -> None:
    f, mixture, y = random_case(1, 0)
    leaves = [part.clone().requires_grad_() for part in mixture]
    build_loss()(f, KernelMixture._make(leaves), y).total.backward()
    for leaf in leaves[:3]:
        assert leaf.grad is not None
        assert bool((leaf.grad[y == -1] == 0).all())
        assert bool((leaf.grad[y == 1] != 0).all())


@pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.float32])
def test_type_of_targets_does_not_matter(dtype: torch.dtype) -> None:
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


@pytest.mark.parametrize("kernels_per_class", [1, 3])
@pytest.mark.parametrize(
    "targets",
    [[[1, 0]], [[0, 0], [0, 0]], [[1, 0], [0, 1]], [[-1, -1], [-1, -1]], [[1, 0], [-1, 1]]],
    ids=["one sample", "no positive", "no shared class", "all unknown", "shared class unknown"],
)
def test_without_pairs_contrastive_is_zero_with_a_graph(targets: list[list[int]], kernels_per_class: int) -> None:
    y = torch.tensor(targets)
    head = KernelMixtureHead(num_features=3, num_classes=2, kernels_per_class=kernels_per_class)
    features = torch.randn(len(y), 3, requires_grad=True)
    mixture = head(features)
    loss = contrastive_loss(3, mixture, y, y >= 0, temperature=TAU)
    assert loss.item() == 0.0
    loss.backward()
    assert head.mean_layer.weight.grad is not None and bool((head.mean_layer.weight.grad == 0).all())
    head.zero_grad()
    build_loss()(features, head(features), y).total.backward()
    assert features.grad is not None
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in (*head.parameters(), features))


def test_reconstruction_without_positives_is_zero_with_a_graph() -> None:
    f, mixture, _ = random_case(1, 0)
    means = mixture.means_BKC.clone().requires_grad_()
    y = torch.zeros(7, 4)
    loss = reconstruction_loss(f, mixture._replace(means_BKC=means), y, y >= 0)
    assert loss.item() == 0.0
    loss.backward()
    assert means.grad is not None and bool((means.grad == 0).all())


@given(
    exponents=st.lists(st.integers(-6, 4), min_size=6, max_size=6),
    kernels_per_class=st.sampled_from([1, 3]),
    gamma=st.sampled_from([0.0, 0.5, 4.0]),
    detach=st.booleans(),
    seed=st.integers(0, 1000),
)
@settings(max_examples=30, deadline=None, derandomize=True)
def test_values_and_gradients_stay_finite(
    exponents: list[int], kernels_per_class: int, gamma: float, detach: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    scale = torch.tensor([10.0**exponent for exponent in exponents]).view(6, 1)
    features = (torch.randn(6, 2048).sign() * torch.rand(6, 2048) * scale).requires_grad_()
    features.data[::2].abs_()
    head = KernelMixtureHead(num_features=2048, num_classes=3, kernels_per_class=kernels_per_class)
    y = torch.randint(-1, 2, (6, 3))
    loss = build_loss(gamma_positive=gamma, gamma_negative=gamma, detach_focusing=detach)
    parts = loss(features, head(features), y)
    parts.total.backward()
    assert all(math.isfinite(part.item()) for part in parts), parts
    gradients = {"features": features.grad} | {name: p.grad for name, p in head.named_parameters()}
    for name, gradient in gradients.items():
        assert gradient is not None and bool(gradient.isfinite().all()), name


# --- The module ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", ["asymmetric", "bce"])
def test_baselines_use_the_logits_alone(objective: str) -> None:
    f, mixture, y = random_case(1, 0)
    nan = torch.full_like(mixture.means_BKC, torch.nan)
    logits = mixture.logits_BK.clone().requires_grad_()
    loss = build_loss(objective=objective, asymmetric_weight=0.5)
    parts = loss(f * torch.nan, KernelMixture(logits, nan, nan, nan), y)
    expected = (
        oracle_bce(mixture.logits_BK, y)
        if objective == "bce"
        else oracle_asymmetric(mixture.logits_BK, y, gamma_positive=0.0, gamma_negative=4.0, clip=0.05)
    )
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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objective": "asl"}, "objective: got 'asl'; wanted one of kmcl, asymmetric, bce"),
        ({"temperature": 0.0}, "temperature: got 0.0; wanted a finite number above 0"),
        ({"temperature": math.nan}, "temperature: got nan"),
        ({"clip": 1.0}, r"clip: got 1.0; wanted a number in \[0, 1\)"),
        ({"gamma_negative": -1.0}, "gamma_negative: got -1.0; wanted"),
        ({"contrastive_weight": math.inf}, "contrastive_weight: got inf; wanted"),
        ({"objective": "bce", "asymmetric_weight": 0.0}, "asymmetric_weight: got 0; wanted some term"),
    ],
)
def test_bad_settings_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_loss(**changes)


def test_bad_inputs_are_refused() -> None:
    f, mixture, y = random_case(1, 0)
    with pytest.raises(ValueError, match=r"targets_BK: got shape \(7, 3\); wanted \(7, 4\)"):
        build_loss()(f, mixture, y[:, :3])
    with pytest.raises(ValueError, match="targets_BK: got the value 2; wanted 1 positive, 0 negative, -1 unknown"):
        build_loss()(f, mixture, y.masked_fill(y == 1, 2))
    with pytest.raises(ValueError, match=r"logits_BK: got shape \(7, 4\); wanted \(5, classes\)"):
        build_loss()(f[:5], mixture, y)
    with pytest.raises(ValueError, match=r"variances_BKC: got shape \(7, 4\); wanted \(7, 4, 1\)"):
        build_loss()(f, mixture._replace(variances_BKC=mixture.variances_BKC.squeeze(2)), y)
    with pytest.raises(ValueError, match="features_BD: got shape"):
        build_loss()(f[0], mixture, y)


def test_method_loads_neither_ray_nor_mlflow_nor_pydantic() -> None:
    code = (
        "import sys, kmcl_platform.method.losses; "
        "sys.exit(str([m for m in ('ray', 'mlflow', 'pydantic', 'kmcl_platform.config') if m in sys.modules] or ''))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "", done.stderr
