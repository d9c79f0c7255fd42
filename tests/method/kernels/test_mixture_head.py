"""The head: shapes, ranges, released initialisation."""

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


def test_unknown_kernel_is_refused() -> None:
    with pytest.raises(ValueError, match="kernel: got 'round'; valid: isotropic, anisotropic, mahalanobis, rbf"):
        KernelMixtureHead(num_features=2, num_classes=2, kernels_per_class=1, kernel="round")
