"""1, 2 and 4 workers compute the same loss and the same gradients: real processes, over gloo."""

import os
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from kmcl_platform.method.kernels.mixture_head import KernelMixture, KernelMixtureHead
from kmcl_platform.method.losses.global_batch import BatchGather
from tests.method.cases import build_loss, random_case
from tests.support.waiting import free_port
from tests.support.worker_processes import run_workers

NUM_SAMPLES = 13
"""Shares of 7 and 6, or of 4, 4, 4 and 1: the last batch is not full."""

GROUPS = (2, 4)
"""Numbers of workers."""

CASES: dict[str, tuple[str, int, dict[str, Any]]] = {
    "isotropic": ("isotropic", 1, {}),
    "anisotropic, C = 2": ("anisotropic", 2, {"kernel_scale": "per_feature"}),
    "mahalanobis, weights": ("mahalanobis", 1, {"asymmetric_weight": 0.5, "contrastive_weight": 3.0}),
    "bce": ("isotropic", 1, {"objective": "bce"}),
    "released": ("isotropic", 1, {"formulation": "released"}),
}
"""For each case: the kernel, the kernels per class, and the settings that differ from the default loss."""


HEADS = {
    "anisotropic": ("anisotropic", 2, 6),
    "mahalanobis": ("mahalanobis", 1, 6),
    "isotropic, more kernels than features": ("isotropic", 2, 6),
    "isotropic, fewer kernels than features": ("isotropic", 1, 20),
}
"""For each case: the kernel, the kernels per class, and the features. All but the last send the features."""


def build_head(case: str) -> tuple[KernelMixtureHead, Tensor, Tensor]:
    """A head in float64 with features and targets."""
    kernel, kernels_per_class, num_features = HEADS[case]
    torch.manual_seed(5)
    sizes = {"num_features": num_features, "num_classes": 4, "kernels_per_class": kernels_per_class}
    head = KernelMixtureHead(**sizes, kernel=kernel, start="scaled", input="normalised").double()
    f, _, y = random_case(seed=3, sizes=(NUM_SAMPLES, num_features, 4))
    y[8:12] = y[8:12].clamp(max=0)
    return head, f, y


def train_head(
    case: str, rows: slice, share: int | None = None, group: dist.ProcessGroup | None = None
) -> tuple[list[Tensor], list[Tensor]]:
    """The terms of the loss, and the gradients of the features and of the head's parameters."""
    head, f, y = build_head(case)
    gather = BatchGather(share, group, kernels_of=head.kernels_of) if share else None
    leaf = f[rows].clone().requires_grad_()
    parts = build_loss(gather=gather, kernel_scale="per_feature")(head.kernel_features(leaf), head(leaf), y[rows])
    return [part.detach() for part in parts], list(torch.autograd.grad(parts.total, [leaf, *head.parameters()]))


def whole_case(kernel: str, kernels_per_class: int) -> tuple[Tensor, KernelMixture, Tensor]:
    """Samples without a positive label are neighbours, so workers have different numbers of them."""
    f, mixture, y = random_case(kernels_per_class, 3, kernel=kernel, sizes=(NUM_SAMPLES, 6, 4))
    y[8:12] = y[8:12].clamp(max=0)
    return f, mixture, y


def compute(
    f: Tensor, mixture: KernelMixture, y: Tensor, rows: slice, gather: BatchGather | None, changes: dict[str, Any]
) -> tuple[list[Tensor], list[Tensor]]:
    leaves = [part[rows].clone().requires_grad_() for part in (f, *mixture)]
    parts = build_loss(gather=gather, **changes)(leaves[0], KernelMixture(*leaves[1:]), y[rows])
    gradients = torch.autograd.grad(parts.total, leaves, allow_unused=True)
    filled = [torch.zeros_like(leaf) if g is None else g for leaf, g in zip(leaves, gradients, strict=True)]
    return [part.detach() for part in parts], filled


def work(rank: int, port: int, folder: str) -> None:
    """All cases, in groups of 2 and of 4 workers; the result of this worker for each."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=rank, world_size=max(GROUPS))
    results = {}
    for num_workers in GROUPS:
        # torch requires that every process makes every group, also the groups that it is not in.
        group = dist.new_group(list(range(num_workers)))
        if rank >= num_workers:
            continue
        share = -(-NUM_SAMPLES // num_workers)
        rows = slice(rank * share, min((rank + 1) * share, NUM_SAMPLES))
        for name, (kernel, kernels_per_class, changes) in CASES.items():
            case = whole_case(kernel, kernels_per_class)
            results[name, num_workers] = compute(*case, rows, BatchGather(share, group), changes)
        for name in HEADS:
            with mock.patch.object(dist, "all_gather_into_tensor", wraps=dist.all_gather_into_tensor) as sent:
                results[name, num_workers] = train_head(name, rows, share, group)
            results[name, num_workers, "sent"] = sent.call_args.args[1].shape[1]
    torch.save(results, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of four processes saved."""
    folder = tmp_path_factory.mktemp("workers")
    run_workers(work, max(GROUPS), free_port(), str(folder))
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(max(GROUPS))]


def on_workers(saved: list[dict[str, Any]], case: str, num_workers: int) -> tuple[list[Tensor], list[Tensor]]:
    """The mean over workers of the terms, and the gradients put together and averaged as data parallelism does."""
    results = [saved[rank][case, num_workers] for rank in range(num_workers)]
    parts = [torch.stack(terms).mean(0) for terms in zip(*(parts for parts, _ in results), strict=True)]
    gradients = [torch.cat(shares) / num_workers for shares in zip(*(grads for _, grads in results), strict=True)]
    return parts, gradients


@pytest.mark.parametrize("num_workers", GROUPS)
@pytest.mark.parametrize("name", [name for name in CASES if name != "released"])
def test_workers_agree_with_one_process(name: str, num_workers: int, saved: list[dict[str, Any]]) -> None:
    kernel, kernels_per_class, changes = CASES[name]
    parts, gradients = compute(*whole_case(kernel, kernels_per_class), slice(None), None, changes)
    assert all(part != 0 for part in parts[: 4 if "objective" not in changes else 2])
    some_parts, some_gradients = on_workers(saved, name, num_workers)
    for one, several in zip(parts, some_parts, strict=True):
        assert several.item() == pytest.approx(one.item(), rel=1e-5, abs=1e-12)
    for one, several in zip(gradients, some_gradients, strict=True):
        assert (one - several).norm() <= 1e-5 * one.norm()


@pytest.mark.parametrize("num_workers", GROUPS)
@pytest.mark.parametrize("case", HEADS)
def test_workers_agree_whether_features_or_kernels_are_sent(
    case: str, num_workers: int, saved: list[dict[str, Any]]
) -> None:
    parts, (features, *parameters) = train_head(case, slice(None))
    results = [saved[rank][case, num_workers] for rank in range(num_workers)]
    for i, one in enumerate(parts):
        assert sum(float(own[i]) for own, _ in results) / num_workers == pytest.approx(float(one), rel=1e-9)
    torch.testing.assert_close(torch.cat([own[0] for _, own in results]) / num_workers, features)
    # Data parallelism averages them.
    for i, one in enumerate(parameters, start=1):
        assert one.abs().sum() > 0
        torch.testing.assert_close(sum(own[i] for _, own in results) / num_workers, one)


def test_the_smaller_of_features_and_kernels_is_sent(saved: list[dict[str, Any]]) -> None:
    labels = 2 * 4 + 1
    for case, (_, kernels_per_class, num_features) in HEADS.items():
        kernels = 3 * kernels_per_class * 4
        fewer = case.endswith("fewer kernels than features")
        assert saved[0][case, 2, "sent"] == labels + (kernels if fewer else num_features)
        assert not fewer or kernels < num_features


def test_released_keeps_pairs_within_a_worker(saved: list[dict[str, Any]]) -> None:
    kernel, kernels_per_class, changes = CASES["released"]
    case = whole_case(kernel, kernels_per_class)
    parts, gradients = on_workers(saved, "released", 2)
    alone = [compute(*case, rows, None, changes) for rows in (slice(0, 7), slice(7, NUM_SAMPLES))]
    for i, several in enumerate(parts):
        assert several.item() == pytest.approx(sum(local[0][i].item() for local in alone) / 2, rel=1e-12)
    whole = compute(*case, slice(None), None, changes)
    assert parts[3].item() != pytest.approx(whole[0][3].item(), rel=1e-3)
    assert not torch.allclose(gradients[2], whole[1][2])


def test_a_batch_larger_than_a_share_is_refused(tmp_path: Path) -> None:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        f, mixture, y = random_case()
        gather = BatchGather(4)
        with pytest.raises(ValueError, match="positive_BK: got 7 samples; valid: at most 4, a worker's share"):
            gather(f, mixture, y == 1, y >= 0)
        with pytest.raises(ValueError, match="share: got 0; valid: at least 1"):
            BatchGather(0)
    finally:
        dist.destroy_process_group()
