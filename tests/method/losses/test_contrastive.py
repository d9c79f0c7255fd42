"""The contrastive loss compared with plain loops, in both formulations."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode

from kmcl_platform.method.kernels.mixture_head import KernelMixture, KernelMixtureHead
from kmcl_platform.method.losses.contrastive import contrastive_loss
from tests.method import oracles
from tests.method.cases import KERNELS, TAU, random_case


def loss(mixture: KernelMixture, y: Tensor, **changes: Any) -> Tensor:
    settings: dict[str, Any] = {"dimension_scale": 1.3, "temperature": TAU}
    return contrastive_loss(mixture, y == 1, y >= 0, **(settings | changes))


@pytest.mark.parametrize("released", [False, True])
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("kernels_per_class", [1, 2, 3])
def test_values_equal_the_oracle(kernel: str, kernels_per_class: int, released: bool) -> None:
    for seed in range(3):
        _, mixture, y = random_case(kernels_per_class, seed, kernel=kernel)
        expected = sum(oracles.contrastive(mixture, y, TAU, 1.3, released=released))
        assert expected != 0
        for max_labels in (None, 4, 9):
            value = loss(mixture, y, weight_inside_log=released, max_labels=max_labels)
            assert value.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("released", [False, True])
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("kernels_per_class", [1, 2])
@pytest.mark.parametrize("max_labels", [None, 4])
def test_the_derivative_passes_gradcheck(
    kernel: str, kernels_per_class: int, released: bool, max_labels: int | None
) -> None:
    _, mixture, y = random_case(kernels_per_class, 4, kernel=kernel, sizes=(5, 3, 4))

    def compute(mu: Tensor, v: Tensor, log_alpha: Tensor) -> Tensor:
        perturbed = KernelMixture(mixture.logits_BK, mu, v, log_alpha)
        return loss(perturbed, y, weight_inside_log=released, max_labels=max_labels)

    assert compute(*mixture[1:]).item() != 0
    # Fast mode compares the whole Jacobian along random directions instead of entry by entry. A wrong entry shows there
    # too; the complete comparison, for one case of each kernel, would also name it.
    fast = (kernels_per_class, released, max_labels) != (2, False, None)
    assert torch.autograd.gradcheck(compute, [part.clone().requires_grad_() for part in mixture[1:]], fast_mode=fast)


def test_the_losses_of_parts_sum_to_the_whole() -> None:
    _, mixture, y = random_case(2, 1)
    for max_labels in (None, 4):
        shares = [loss(mixture, y, anchors=slice(a, b), max_labels=max_labels) for a, b in ((0, 3), (3, 4), (4, 7))]
        assert sum(share.item() for share in shares) == pytest.approx(loss(mixture, y).item(), rel=1e-12)


def test_more_labels_than_the_bound_give_nan() -> None:
    _, mixture, y = random_case(1, 1, sizes=(7, 5, 4))
    dense = torch.ones_like(y)
    assert loss(mixture, dense, max_labels=3).isnan()
    assert loss(mixture, dense, max_labels=4).isfinite()


@pytest.mark.parametrize("kernels_per_class", [1, 3])
def test_with_a_bound_on_labels_the_host_never_waits(kernels_per_class: int) -> None:
    # Fake tensors have no values. Every operation for which the host must wait (for a value or a shape) raises.
    with FakeTensorMode(allow_non_fake_inputs=False):
        shape = (6, 4, kernels_per_class)
        parts = [torch.rand(6, 4), torch.rand(*shape, 1), torch.rand(*shape, 1), torch.rand(shape)]
        mixture = KernelMixture(*(part.requires_grad_() for part in parts))
        y = torch.ones(6, 4)
        loss(mixture, y, max_labels=2).backward()
        with pytest.raises((DynamicOutputShapeException, DataDependentOutputException)):
            loss(mixture, y)


@pytest.mark.parametrize("max_labels", [None, 2])
@pytest.mark.parametrize("kernels_per_class", [1, 3])
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(
    "targets",
    [[[1, 0]], [[0, 0], [0, 0]], [[1, 0], [0, 1]], [[-1, -1], [-1, -1]], [[1, 0], [-1, 1]]],
    ids=["one sample", "no positive", "no shared class", "all unknown", "shared class unknown"],
)
def test_a_batch_without_pairs_gives_zero_with_a_graph(
    targets: list[list[int]], kernel: str, kernels_per_class: int, max_labels: int | None
) -> None:
    y = torch.tensor(targets)
    head = KernelMixtureHead(num_features=3, num_classes=2, kernels_per_class=kernels_per_class, kernel=kernel)
    value = loss(head(torch.randn(len(y), 3)), y, max_labels=max_labels)
    assert value.item() == 0.0
    value.backward()
    assert head.mean_layer.weight.grad is not None and bool((head.mean_layer.weight.grad == 0).all())


@pytest.mark.parametrize("temperature", [1e-4, 1e-2, 1.0, 1e4])
def test_the_loss_is_finite_at_any_temperature(temperature: float) -> None:
    _, mixture, y = random_case(1, 0)
    mixture = KernelMixture(*(part.float().requires_grad_() for part in mixture))
    value = loss(mixture, y, temperature=temperature)
    value.backward()
    assert value.isfinite()
    assert mixture.means_BKCR.grad is not None and bool(mixture.means_BKCR.grad.isfinite().all())


@pytest.mark.parametrize("kernels_per_class", [1, 3])
@pytest.mark.parametrize("kernel", KERNELS)
def test_a_known_bound_on_the_labels_does_not_change_the_result(kernel: str, kernels_per_class: int) -> None:
    """With it, the rows are processed as on a GPU: the host knows neither their number nor their classes."""
    _, mixture, y = random_case(kernels_per_class, 0, kernel=kernel)
    results = []
    for max_labels in (None, y.shape[1]):
        leaves = [part.clone().requires_grad_() for part in mixture]
        value = loss(KernelMixture(*leaves), y, max_labels=max_labels)
        results.append([value, *torch.autograd.grad(value, leaves[1:3])])
    for a, b in zip(*results, strict=True):
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kernel", ["isotropic", "anisotropic"])
def test_blocks_do_not_change_the_result(kernel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _, mixture, y = random_case(2, 0, kernel=kernel)

    def compute() -> list[Tensor]:
        leaves = [part.clone().requires_grad_() for part in mixture]
        value = loss(KernelMixture(*leaves), y)
        return [value, *torch.autograd.grad(value, leaves[1:])]

    whole = compute()
    for constant in ("rows._BLOCK_ELEMENTS", "featurewise_terms.BLOCK_ELEMENTS", "featurewise_pairs.BLOCK_ELEMENTS"):
        monkeypatch.setattr(f"kmcl_platform.method.kernels.{constant}", 1)
    for a, b in zip(compute(), whole, strict=True):
        assert torch.allclose(a, b, rtol=1e-12)
