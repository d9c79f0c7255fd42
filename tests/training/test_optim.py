"""The one-cycle schedule: torch's numbers where torch computes any, and a usable rate in every short trial."""

import math

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch.optim.lr_scheduler import OneCycleLR
from torch.optim.swa_utils import AveragedModel

from kmcl_platform.config.trial_config import ModelConfig, OptimConfig, TrialConfig
from kmcl_platform.training.build import build_model
from kmcl_platform.training.optim import MovingAverage, one_cycle, parameter_groups

PEAK = 0.5


def optimizer() -> torch.optim.Optimizer:
    return torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=PEAK)


def rates(total_steps: int, warmup_fraction: float) -> list[float]:
    """The learning rate of each step of a whole trial; the schedule takes its last step too."""
    adam = optimizer()
    schedule = one_cycle(adam, warmup_fraction=warmup_fraction, total_steps=total_steps)
    found = []
    for _ in range(total_steps):
        found.append(float(adam.param_groups[0]["lr"]))
        assert 0.85 <= adam.param_groups[0]["betas"][0] <= 0.95
        adam.step()
        schedule.step()
    return found


@pytest.mark.parametrize(("total_steps", "warmup_fraction"), [(6, 0.2), (100, 0.2), (7, 0.9), (3, 0.2), (2, 0.2)])
def test_the_schedule_is_that_of_torch(total_steps: int, warmup_fraction: float) -> None:
    adam = optimizer()
    schedule = OneCycleLR(adam, max_lr=PEAK, total_steps=total_steps, pct_start=warmup_fraction)
    expected = []
    for _ in range(total_steps):
        expected.append(float(adam.param_groups[0]["lr"]))
        adam.step()
        schedule.step()
    assert rates(total_steps, warmup_fraction) == expected


def test_a_warm_up_of_one_step_begins_at_the_peak() -> None:
    found = rates(5, 0.2)
    assert found[0] == pytest.approx(PEAK)
    assert found == sorted(found, reverse=True)


def test_the_only_step_of_a_trial_is_taken_at_the_peak() -> None:
    for warmup_fraction in (0.01, 0.2, 0.5, 0.99):
        assert rates(1, warmup_fraction) == [pytest.approx(PEAK)]


@pytest.mark.parametrize("total_steps", range(1, 80))
def test_no_number_of_steps_divides_by_zero(total_steps: int) -> None:
    one_step = 1 / total_steps
    for warmup_fraction in (one_step, math.nextafter(one_step, 0), math.nextafter(one_step, 1), 2 / total_steps):
        if 0 < warmup_fraction < 1:
            rates(total_steps, warmup_fraction)


def test_every_parameter_is_in_one_group_with_its_rate_and_decay() -> None:
    model = build_model(
        TrialConfig(model=ModelConfig(backbone="test_byobnet", kernel="anisotropic", kernels_per_class=2)), 5
    )
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for factor, num_groups in ((1.0, 2), (4.0, 4)):
        groups = parameter_groups(model, OptimConfig(weight_decay=0.01, lr=PEAK, head_lr_factor=factor))
        assert len(groups) == num_groups
        assert sorted(names[id(p)] for group in groups for p in group["params"]) == sorted(names.values())
        for group in groups:
            for parameter in group["params"]:
                name = names[id(parameter)]
                of_kernels = name.startswith(("head.mean_layer", "head.variance_layer", "head.component_layer"))
                assert group["lr"] == (PEAK * factor if of_kernels else PEAK), name
                assert group["weight_decay"] == (0.01 if parameter.ndim > 1 else 0.0), name


def peaks(config: OptimConfig) -> dict[str, float]:
    """The peak learning rate of each parameter, divided by that of the optimizer."""
    model = build_model(TrialConfig(model=ModelConfig(backbone="test_resnet", projection_width=8)), 5)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = parameter_groups(model, config)
    found = {names[id(p)]: group["lr"] / config.lr for group in groups for p in group["params"]}
    assert sorted(found) == sorted(names.values())
    for group in groups:
        assert group["weight_decay"] == 0 or all(p.ndim > 1 for p in group["params"])
    return found


def test_the_backbone_has_a_rate_of_its_own() -> None:
    for name, peak in peaks(OptimConfig(backbone_lr_factor=0.25, head_lr_factor=4.0)).items():
        of_kernels = name.startswith(("head.mean_layer", "head.variance_layer"))
        assert peak == pytest.approx(0.25 if name.startswith("backbone.") else 4.0 if of_kernels else 1.0), name


def test_the_rate_of_a_block_is_a_fraction_of_that_of_the_next_one() -> None:
    found = peaks(OptimConfig(layer_decay=0.5, backbone_lr_factor=0.1))
    blocks = ["conv1.0", "layer1.0.conv1", "layer2.0.conv1", "layer3.0.conv1", "layer4.0.conv1"]
    rates = [found[f"backbone.network.{block}.weight"] for block in blocks]
    assert rates == [pytest.approx(0.1 * 0.5**distance) for distance in (4, 3, 2, 1, 0)]
    assert {peak for name, peak in found.items() if not name.startswith("backbone.")} == {1.0}


def test_each_group_has_a_peak_of_its_own() -> None:
    parameters = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    adam = torch.optim.AdamW([{"params": [p], "lr": PEAK * 3**place} for place, p in enumerate(parameters)])
    schedule = one_cycle(adam, warmup_fraction=0.2, total_steps=20)
    found = []
    for _ in range(20):
        first, second = (float(group["lr"]) for group in adam.param_groups)
        assert second == pytest.approx(3 * first)
        found.append(second)
        adam.step()
        schedule.step()
    assert max(found) == pytest.approx(3 * PEAK)


@given(st.integers(1, 12), st.floats(0, 1, exclude_min=True, exclude_max=True))
@settings(max_examples=300, deadline=None)
def test_every_rate_is_above_0_and_at_most_the_peak(total_steps: int, warmup_fraction: float) -> None:
    assert all(0 < rate <= PEAK * (1 + 1e-9) for rate in rates(total_steps, warmup_fraction))


@pytest.mark.parametrize("decay", [0.0, 0.9997])
def test_the_average_is_that_of_torch(decay: float) -> None:
    """With parameters and buffers, from its first update on."""

    def update(averaged: list[torch.Tensor], current: list[torch.Tensor], steps: torch.Tensor) -> None:
        torch._foreach_lerp_(averaged, current, 1 - min(decay, (1 + int(steps)) / (10 + int(steps))))

    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    own, of_torch = MovingAverage(model, decay), AveragedModel(model, multi_avg_fn=update)  # type: ignore[arg-type]
    for _ in range(4):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter))
            model(torch.randn(5, 3))
        own.update_parameters(model)
        of_torch.update_parameters(model)
        for name, tensor in of_torch.state_dict().items():
            assert torch.equal(own.state_dict()[name], tensor), name
    assert int(own.n_averaged) == 4
