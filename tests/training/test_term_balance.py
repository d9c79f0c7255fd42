"""Shares of the gradient instead of weights, and the late start of the kernel terms."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from kmcl_platform.config.loss_config import LossConfig
from kmcl_platform.config.reports.epoch_report import GRADIENT_SHARES
from kmcl_platform.config.trial_config import Scalar, TrialConfig
from kmcl_platform.errors import ConfigError
from kmcl_platform.method.kernels.mixture_head import KernelMixtureHead
from kmcl_platform.method.losses import BatchGather, TermFactors
from kmcl_platform.training.build import build_loss
from kmcl_platform.training.gradient_shares import TermGradients
from kmcl_platform.training.term_balance import LARGEST_FACTOR, MEASURE_EVERY, SMOOTHING, TermBalance
from kmcl_platform.training.workers.distributed import join_workers
from tests.support.waiting import free_port
from tests.support.worker_processes import run_workers
from tests.training.trials import ALONE

SHARES = LossConfig(balance="gradient_shares", reconstruction_share=0.3, contrastive_share=0.2, asymmetric_weight=2.0)


def build_head() -> KernelMixtureHead:
    torch.manual_seed(0)
    return KernelMixtureHead(num_features=6, num_classes=5, kernels_per_class=2, start="scaled")


def draw_batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(12, 6, generator=generator), torch.randint(-1, 2, (12, 5), generator=generator)


def squares_of(
    gradients: TermGradients, head: KernelMixtureHead, config: LossConfig, rows: slice, gather: BatchGather | None
) -> torch.Tensor:
    features, targets = draw_batch()
    with gradients.watching():
        head(features[rows].requires_grad_())
    return gradients.squares(build_loss(config, gather=gather), targets[rows], scale=4.0)


def balance_of(config: LossConfig, head: KernelMixtureHead | None = None, total_steps: int = 100) -> TermBalance:
    return TermBalance(config, head or build_head(), ALONE, total_steps=total_steps)


@pytest.mark.parametrize("kernel_scale", ["total", "per_feature"])
def test_each_term_gets_its_share_of_the_gradient(kernel_scale: str) -> None:
    config = SHARES.model_copy(update={"kernel_scale": kernel_scale})
    head = build_head()
    balance = balance_of(config, head)
    balance.add(squares_of(balance.gradients, head, config, slice(None), None), scale=4.0)
    factors = balance.factors()
    gradients = TermGradients(head)
    features, targets = draw_batch()
    with gradients.watching():
        head(features.requires_grad_())
    gradients.measure(build_loss(config), targets, factors)
    assert gradients.shares(ALONE) == pytest.approx(dict(zip(GRADIENT_SHARES, (0.5, 0.3, 0.2), strict=True)), rel=1e-4)
    # The classification keeps its weight, so the learning rate keeps its meaning.
    assert factors.each_3 is not None and factors.each_3[0] == 1


def test_norms_are_smoothed_and_measurements_that_say_nothing_are_left_out() -> None:
    balance = balance_of(SHARES)
    each = balance.factors().each_3
    assert each is not None and each.tolist() == [1, 0, 0]
    ratios = torch.tensor([0.3, 0.2]) / 0.5
    balance.add(torch.tensor([16.0, 4.0, 0.0]))
    each = balance.factors().each_3
    assert each is not None and each.tolist() == pytest.approx([1, float(ratios[0]) * 2, 0])
    balance.add(torch.tensor([16.0, 36.0, 1.0]))
    norm = SMOOTHING * 2 + (1 - SMOOTHING) * 6
    each = balance.factors().each_3
    assert each is not None and each.tolist() == pytest.approx([1, float(ratios[0]) * 4 / norm, float(ratios[1]) * 4])
    before = each
    for bad in (0.0, torch.inf, torch.nan):
        balance.add(torch.full((3,), bad))
        each = balance.factors().each_3
        assert each is not None and torch.equal(each, before)
    tiny = balance_of(SHARES)
    tiny.add(torch.tensor([1.0, 1e-20, 1.0]))
    each = tiny.factors().each_3
    assert each is not None and each[1] == LARGEST_FACTOR


def test_norms_are_measured_at_every_nth_step_after_the_start() -> None:
    balance = balance_of(SHARES.model_copy(update={"kernel_start": 0.05}))
    due = []
    for step in range(3 * MEASURE_EVERY):
        if balance.is_due:
            due.append(step)
            balance.add(torch.ones(3))
        balance.advance()
    assert due == [5, 5 + MEASURE_EVERY, 5 + 2 * MEASURE_EVERY]
    assert not balance_of(LossConfig()).is_due
    assert not balance_of(SHARES.model_copy(update={"objective": "bce"})).is_due


def test_kernel_terms_begin_late_and_rise_linearly() -> None:
    balance = balance_of(LossConfig(kernel_start=0.2), total_steps=20)
    found = []
    for _ in range(20):
        found.append(balance.factors().kernels)
        balance.advance()
    assert found == pytest.approx([0] * 4 + [0.25, 0.5, 0.75] + [1] * 13)
    skipped = balance_of(SHARES.model_copy(update={"kernel_start": 0.2}), total_steps=20)
    skipped.end_start()
    assert skipped.factors().kernels == 1.0 and skipped.is_due
    assert balance_of(LossConfig(), total_steps=20).factors() == TermFactors(1.0, None)
    assert balance_of(LossConfig(kernel_start=0.2, objective="bce"), total_steps=20).factors().kernels == 1.0


def test_a_term_is_left_out_before_the_start_and_with_a_share_of_zero(tmp_path: Path) -> None:
    head = build_head()
    features, targets = draw_batch()
    mixture = head(features)
    plain = build_loss(LossConfig(objective="asymmetric"))(features, mixture, targets).total
    late = build_loss(LossConfig())
    assert late(features, mixture, targets, TermFactors(kernels=0.0)).total == plain
    assert late.weighted_terms(features, mixture, targets, TermFactors(kernels=0.0))[1:] == [None, None]
    # A NaN in a term that is left out does not reach the total.
    nan = mixture._replace(means_BKCR=mixture.means_BKCR * torch.nan)
    assert late(features, nan, targets, TermFactors(kernels=0.0)).total == plain
    half = LossConfig(balance="gradient_shares", reconstruction_share=0.0, contrastive_share=0.2)
    assert build_loss(half).weights == (1.0, 0.0, 1.0)
    none = LossConfig(balance="gradient_shares", reconstruction_share=0.0, contrastive_share=0.0)
    assert build_loss(none)(features, nan, targets, TermFactors(1.0, torch.ones(3))).total == plain


def test_factors_multiply_the_weighted_terms() -> None:
    head = build_head()
    features, targets = draw_batch()
    loss = build_loss(LossConfig(asymmetric_weight=0.5, reconstruction_weight=2.0, contrastive_weight=3.0))
    mixture = head(features)
    parts = loss(features, mixture, targets, TermFactors(0.25, torch.tensor([1.0, 4.0, 0.5])))
    expected = 0.5 * parts.asymmetric + 2 * parts.reconstruction + 0.375 * parts.contrastive
    assert parts.total.item() == pytest.approx(expected.item(), rel=1e-6)
    terms = loss.weighted_terms(features, mixture, targets, TermFactors(0.25, torch.tensor([1.0, 4.0, 0.5])))
    assert sum(term.item() for term in terms if term is not None) == pytest.approx(expected.item(), rel=1e-6)


def work(rank: int, num_workers: int, port: int, folder: str) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=rank, world_size=num_workers)
    share = 12 // num_workers
    head = build_head()
    balance = TermBalance(SHARES, head, join_workers(), total_steps=100)
    rows = slice(rank * share, (rank + 1) * share)
    gather = BatchGather(share) if num_workers > 1 else None
    balance.add(squares_of(balance.gradients, head, SHARES, rows, gather), scale=4.0)
    torch.save((balance.state_dict(), balance.factors().each_3), Path(folder) / f"{num_workers}-{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.story
def test_one_two_and_four_workers_have_the_same_factors(tmp_path: Path) -> None:
    results: list[tuple[dict[str, Any], torch.Tensor]] = []
    for num_workers in (1, 2, 4):
        run_workers(work, num_workers, num_workers, free_port(), str(tmp_path))
        own = [torch.load(tmp_path / f"{num_workers}-{rank}.pt", weights_only=True) for rank in range(num_workers)]
        assert all(torch.equal(own[0][1], other[1]) for other in own)
        results.append(own[0])
    for state, each in results[1:]:
        torch.testing.assert_close(state["norms"], results[0][0]["norms"], rtol=1e-4, atol=0)
        torch.testing.assert_close(each, results[0][1], rtol=1e-4, atol=0)
    assert bool((results[0][1] > 0).all())


@pytest.mark.parametrize(
    ("values", "line"),
    [
        (
            {"loss.balance": "gradient_shares", "loss.formulation": "released"},
            "loss.balance: got 'gradient_shares'; valid: weights, because loss.formulation is released",
        ),
        (
            {"loss.balance": "gradient_shares", "loss.asymmetric_weight": 0.0},
            "loss.balance: got 'gradient_shares'; valid: weights, because loss.asymmetric_weight is 0: shares are "
            "relative to its term",
        ),
        ({"loss.reconstruction_share": 1.0}, "loss.reconstruction_share: got 1.0; valid: a number below 1"),
        ({"loss.contrastive_share": 1.5}, "loss.contrastive_share: got 1.5; valid: a number below 1"),
        ({"loss.contrastive_share": -0.1}, "loss.contrastive_share: got -0.1; valid: a number of at least 0"),
        (
            {"loss.reconstruction_share": 0.75, "loss.contrastive_share": 0.25},
            "loss.contrastive_share: got 0.25; valid: a number below 0.25, because loss.reconstruction_share has the "
            "other part of 1",
        ),
        ({"loss.kernel_start": 1.0}, "loss.kernel_start: got 1.0; valid: a number below 1"),
        (
            {"loss.kernel_start": 0.1, "loss.asymmetric_weight": 0.0},
            "loss.kernel_start: got 0.1; valid: 0, because loss.asymmetric_weight is 0: no term would be left before "
            "the start",
        ),
    ],
)
def test_wrong_values_are_one_line(values: dict[str, Scalar], line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        TrialConfig().with_values(values)
    assert str(caught.value) == line


def test_the_default_share_is_checked_too() -> None:
    with pytest.raises(ConfigError, match="a number below 0.05, because loss.reconstruction_share"):
        LossConfig(reconstruction_share=0.95)
