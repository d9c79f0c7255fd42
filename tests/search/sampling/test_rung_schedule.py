"""The rungs in a plan: their place in the learning rate's schedule is that of training."""

import pytest
import torch

from kmcl_platform.config.arms import to_yaml
from kmcl_platform.config.search_file_reader import parse_search_file
from kmcl_platform.search.sampling.rung_schedule import find_early_rung, list_rungs, peak_share
from kmcl_platform.training.optim import one_cycle

FILE = """
name: s
base: {num_epochs: 10, optim: {lr: 0.5, warmup_fraction: 0.3}}
space: {loss.temperature: {kind: uniform, low: 0.1, high: 1}}
budget: {trials: 9}
scheduler: {kind: successive_halving, min_epochs: 2, reduction_factor: 2}
"""


@pytest.mark.parametrize("warmup", [0.1, 0.3, 0.7])
def test_the_learning_rate_is_that_of_training(warmup: float) -> None:
    adam = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    total = 2000
    schedule = one_cycle(adam, warmup_fraction=warmup, total_steps=total)
    for step in range(total):
        share = adam.param_groups[0]["lr"] / 0.5
        assert peak_share(step / total, warmup) == pytest.approx(share, abs=0.01)
        adam.step()
        schedule.step()


def test_each_rung_says_whether_the_rate_still_rises() -> None:
    first, second, third = list_rungs(parse_search_file(FILE.encode(), "s.yaml"))
    assert [(rung.epoch, rung.rising) for rung in (first, second, third)] == [(2, True), (4, False), (8, False)]
    assert str(first) == (
        "epoch 2: 20% of the schedule, learning rate 76% of its peak, which still rises: trials are judged on their "
        "warm-up"
    )
    assert str(second) == "epoch 4: 40% of the schedule, learning rate 95% of its peak"


def test_the_longest_warm_up_of_a_space_counts() -> None:
    file = FILE.replace("space: {", "space: {optim.warmup_fraction: {kind: uniform, low: 0.1, high: 0.5}, ")
    assert [rung.rising for rung in list_rungs(parse_search_file(file.encode(), "s.yaml"))] == [True, True, False]
    file = FILE.replace("space: {", "space: {optim.warmup_fraction: {kind: choice, choices: [0.5, 0.3, 0.1]}, ")
    assert [rung.rising for rung in list_rungs(parse_search_file(file.encode(), "s.yaml"))] == [True, True, False]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            (),
            "scheduler.min_epochs: got 2, but the learning rate rises until epoch 3 of 10, and a trial that is judged "
            "before then is judged on its warm-up; valid: at least 3, a smaller optim.warmup_fraction, or "
            "allow_early_rungs: true",
        ),
        (("min_epochs: 2", "min_epochs: 3"), None),
        (("warmup_fraction: 0.3", "warmup_fraction: 0.2"), None),
        (("min_epochs: 2", "min_epochs: 2, allow_early_rungs: true"), None),
        (("{kind: successive_halving, min_epochs: 2, reduction_factor: 2}", "{kind: adaptive}"), None),
    ],
)
def test_a_rung_in_the_warm_up_is_found(change: tuple[str, str] | tuple[()], problem: str | None) -> None:
    text = FILE.replace(*change) if change else FILE
    assert find_early_rung(parse_search_file(text.encode(), "s.yaml")) == problem


@pytest.mark.parametrize("kind", ["successive_halving", "hyperband"])
@pytest.mark.parametrize(
    ("epochs", "warmup", "first"), [(10, 0.3, 3), (10, 0.31, 4), (3, 0.2, 1), (35, 0.2, 7), (8, 0.2, 2), (2, 0.9, 2)]
)
def test_the_default_is_the_first_epoch_after_the_warm_up(kind: str, epochs: int, warmup: float, first: int) -> None:
    file = FILE.replace("num_epochs: 10", f"num_epochs: {epochs}").replace("fraction: 0.3", f"fraction: {warmup}")
    file = file.replace("kind: successive_halving, min_epochs: 2", f"kind: {kind}")
    read = parse_search_file(file.encode(), "s.yaml")
    assert read.scheduler.min_epochs == first  # type: ignore[union-attr]
    assert find_early_rung(read) is None
    assert parse_search_file(to_yaml(read), "s.yaml") == read


@pytest.mark.parametrize("kind", ["none", "adaptive"])
def test_some_schedulers_have_no_fixed_rungs(kind: str) -> None:
    file = FILE.replace("{kind: successive_halving, min_epochs: 2, reduction_factor: 2}", f"{{kind: {kind}}}")
    assert list_rungs(parse_search_file(file.encode(), "s.yaml")) == []
