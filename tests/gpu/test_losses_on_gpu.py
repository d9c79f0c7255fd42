"""The losses on a real GPU: equal to the CPU's, without synchronisation, and fit for CUDA graphs and torch.compile.

Skipped without CUDA.
"""

from typing import Any

import pytest
import torch
from torch import Tensor

from kmcl_platform.method.kernels.mixture_head import KernelMixture
from tests.method.cases import KERNELS, build_loss, random_case

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


def on(device: str, kernel: str, kernels_per_class: int) -> tuple[Tensor, KernelMixture, Tensor]:
    f, mixture, y = random_case(kernels_per_class, kernel=kernel, sizes=(32, 16, 4))
    leaves = [part.to(device, torch.float32).requires_grad_() for part in (f, *mixture)]
    return leaves[0], KernelMixture(*leaves[1:]), y.to(device)


def gradients(case: tuple[Tensor, KernelMixture, Tensor], loss: Any) -> list[Tensor]:
    f, mixture, y = case
    total = loss(f, mixture, y).total
    inputs = (f, *mixture[: 4 if mixture.means_BKCR.shape[2] > 1 else 3])
    return [total.detach().cpu(), *(part.cpu() for part in torch.autograd.grad(total, inputs))]


@pytest.mark.parametrize("formulation", ["corrected", "released"])
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("kernels_per_class", [1, 3])
def test_gpu_agrees_with_cpu(kernels_per_class: int, kernel: str, formulation: str) -> None:
    expected = gradients(on("cpu", kernel, kernels_per_class), build_loss(formulation=formulation))
    for max_labels in (None, 4):
        loss = build_loss(formulation=formulation, max_labels=max_labels).cuda()
        for wanted, got in zip(expected, gradients(on("cuda", kernel, kernels_per_class), loss), strict=True):
            assert (wanted - got).norm() <= 1e-4 * wanted.norm()


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_loss_does_not_synchronise_with_the_device(kernel: str) -> None:
    f, mixture, y = on("cuda", kernel, 2)
    loss = build_loss(max_labels=4).cuda()
    loss(f, mixture, y)  # The first call checks the inputs, which synchronises.
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        loss(f, mixture, y).total.backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_the_loss_can_be_captured_and_compiled() -> None:
    f, mixture, y = on("cuda", "isotropic", 1)
    loss = build_loss(max_labels=4).cuda()
    expected = loss(f, mixture, y).total.item()
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            torch.autograd.grad(loss(f, mixture, y).total, (f, *mixture[:3]))
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = loss(f, mixture, y).total
        torch.autograd.grad(captured, (f, *mixture[:3]))
    graph.replay()
    assert captured.item() == pytest.approx(expected, rel=1e-5)
    assert torch.compile(loss)(f, mixture, y).total.item() == pytest.approx(expected, rel=1e-4)
