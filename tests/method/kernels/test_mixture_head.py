"""The head: shapes, ranges, initial weights, normalised features."""

import pytest
import torch

from kmcl_platform.method.kernels.mixture_head import KernelMixtureHead


@pytest.mark.parametrize(("kernel", "size"), [("isotropic", 1), ("anisotropic", 8), ("mahalanobis", 8), ("rbf", 1)])
@pytest.mark.parametrize("kernels_per_class", [1, 3])
def test_a_mixture_has_the_documented_shapes_and_ranges(kernels_per_class: int, kernel: str, size: int) -> None:
    torch.manual_seed(0)
    head = KernelMixtureHead(num_features=8, num_classes=5, kernels_per_class=kernels_per_class, kernel=kernel)
    mixture = head(torch.randn(4, 8) * 100)
    assert mixture.logits_BK.shape == (4, 5)
    assert mixture.means_BKCR.shape == mixture.variances_BKCR.shape == (4, 5, kernels_per_class, size)
    assert mixture.log_weights_BKC.shape == (4, 5, kernels_per_class)
    assert bool((mixture.variances_BKCR > 1).all())
    # Uniform at the start, and normalised over C.
    assert torch.allclose(mixture.log_weights_BKC.exp(), torch.full((4, 5, kernels_per_class), 1 / kernels_per_class))


@pytest.mark.parametrize("kernel", ["mahalanobis", "rbf"])
def test_all_kernels_of_a_sample_share_its_variance(kernel: str) -> None:
    head = KernelMixtureHead(num_features=8, num_classes=5, kernels_per_class=2, kernel=kernel)
    torch.nn.init.normal_(head.variance_layer.weight)
    variances = head(torch.randn(4, 8)).variances_BKCR
    assert bool((variances == variances[:, :1, :1]).all())
    assert not torch.allclose(variances[0], variances[1])
    if kernel == "mahalanobis":
        assert variances[0, 0, 0].unique().numel() == 8


def test_the_initialisation_is_the_released_one() -> None:
    torch.manual_seed(0)
    head = KernelMixtureHead(num_features=64, num_classes=5, kernels_per_class=2)
    means = head.mean_layer.weight
    assert 0 <= means.min() < 0.01 and 0.09 < means.max() <= 0.1
    assert bool((head.variance_layer.weight == 1).all())
    assert not head.mean_layer.bias.any() and not head.variance_layer.bias.any()
    assert head.component_layer is not None and not head.component_layer.weight.any()


@pytest.mark.parametrize("num_features", [96, 1280])
@pytest.mark.parametrize("kernel", ["isotropic", "anisotropic", "rbf"])
def test_a_scaled_start_has_the_same_sizes_for_every_number_of_features(kernel: str, num_features: int) -> None:
    torch.manual_seed(0)
    num_classes = 2 if kernel == "anisotropic" else 40
    head = KernelMixtureHead(
        num_features=num_features, num_classes=num_classes, kernels_per_class=2, kernel=kernel, start="scaled"
    )
    mixture = head(torch.randn(64, num_features))
    assert mixture.means_BKCR.std().item() == pytest.approx(1, rel=0.2)
    assert abs(mixture.means_BKCR.mean().item()) < 0.2
    assert 1.025 < mixture.variances_BKCR.min() < mixture.variances_BKCR.max() < 1.1
    assert mixture.variances_BKCR.mean().item() == pytest.approx(1.05, abs=0.005)
    assert mixture.variances_BKCR.std() > 1e-3
    assert head.component_layer is not None and not head.component_layer.weight.any()
    # Nothing else changes: the logits are those of the released start.
    torch.manual_seed(0)
    released = KernelMixtureHead(num_features=num_features, num_classes=num_classes, kernels_per_class=2, kernel=kernel)
    assert torch.equal(head.logit_layer.weight, released.logit_layer.weight)


@pytest.mark.parametrize("kernel", ["isotropic", "mahalanobis"])
def test_normalised_input_reaches_every_layer_but_the_logits(kernel: str) -> None:
    torch.manual_seed(0)
    heads = [
        KernelMixtureHead(num_features=8, num_classes=5, kernels_per_class=2, kernel=kernel, input=input)
        for input in ("raw", "normalised")
    ]
    heads[1].load_state_dict(heads[0].state_dict())
    for head in heads:
        assert head.component_layer is not None
        torch.nn.init.eye_(head.component_layer.weight)
    features = torch.randn(4, 8) * 7 + 3
    normalised = (features - features.mean(1, keepdim=True)) / features.std(1, keepdim=True, correction=0)
    raw, expected = heads[0](features), heads[0](normalised)
    mixture = heads[1](features)
    assert torch.equal(heads[0].kernel_features(features), features)
    torch.testing.assert_close(heads[1].kernel_features(features), normalised, rtol=1e-4, atol=1e-4)
    assert torch.equal(mixture.logits_BK, raw.logits_BK)
    for part, wanted, other in zip(mixture[1:], expected[1:], raw[1:], strict=True):
        torch.testing.assert_close(part, wanted, rtol=1e-4, atol=1e-4)
        assert not torch.allclose(part, other, rtol=1e-2)


def test_the_parameters_of_the_kernels_are_all_but_the_logits() -> None:
    head = KernelMixtureHead(num_features=4, num_classes=2, kernels_per_class=2)
    logits = [id(parameter) for parameter in head.logit_layer.parameters()]
    kernels = [id(parameter) for parameter in head.kernel_parameters()]
    assert sorted(logits + kernels) == sorted(id(parameter) for parameter in head.parameters())
    plain = KernelMixtureHead(num_features=4, num_classes=2, kernels_per_class=1)
    assert len(plain.kernel_parameters()) == 4


def test_plain_kmcl_has_no_component_weights_and_the_seed_decides_the_rest() -> None:
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        states.append(KernelMixtureHead(num_features=4, num_classes=2, kernels_per_class=1).state_dict())
    assert not any("component" in name for name in states[0])
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_variance_is_that_of_the_formula() -> None:
    head = KernelMixtureHead(num_features=1, num_classes=1, kernels_per_class=1).double()
    a = torch.tensor([[-2.0], [0.0], [3.0]], dtype=torch.float64)
    expected = 2 + torch.tensor([torch.e**-2 - 1, 0.0, 3.0], dtype=torch.float64) + 1e-7
    assert torch.allclose(head(a).variances_BKCR.flatten(), expected, rtol=1e-12)


def test_learned_component_weights_are_normalised() -> None:
    head = KernelMixtureHead(num_features=4, num_classes=2, kernels_per_class=3)
    assert head.component_layer is not None
    torch.nn.init.normal_(head.component_layer.weight)
    weights = head(torch.randn(5, 4)).log_weights_BKC.exp()
    assert torch.allclose(weights.sum(2), torch.ones(5, 2))


@pytest.mark.parametrize("name", ["num_features", "num_classes", "kernels_per_class"])
def test_sizes_below_one_are_refused(name: str) -> None:
    sizes = {"num_features": 2, "num_classes": 2, "kernels_per_class": 2} | {name: 0}
    with pytest.raises(ValueError, match=f"{name}: got 0; valid: at least 1"):
        KernelMixtureHead(**sizes)


@pytest.mark.parametrize(
    ("name", "valid"),
    [
        ("kernel", "isotropic, anisotropic, mahalanobis, rbf"),
        ("start", "released, scaled"),
        ("input", "raw, normalised"),
    ],
)
def test_unknown_choices_are_refused(name: str, valid: str) -> None:
    with pytest.raises(ValueError, match=f"{name}: got 'round'; valid: {valid}"):
        KernelMixtureHead(num_features=2, num_classes=2, kernels_per_class=1, **{name: "round"})
