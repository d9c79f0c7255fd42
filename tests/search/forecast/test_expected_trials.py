"""The expected numbers of trials and of trade-offs are those of random draws."""

import random
import statistics

import pytest

from kmcl_platform.config.space.aims import find_front
from kmcl_platform.search.forecast.expected_trials import expected_front, expected_trials


@pytest.mark.parametrize(("num_trials", "patience"), [(1, 1), (3, 1), (10, 3), (10, 20)])
def test_expected_trials_with_patience_are_those_of_random_draws(num_trials: int, patience: int) -> None:
    rng = random.Random(0)

    def run() -> int:
        best, waited = -1.0, 0
        for begun in range(1, num_trials + 1):
            value = rng.random()
            best, waited = (value, 0) if value > best else (best, waited + 1)
            if waited == patience:
                return begun
        return num_trials

    assert expected_trials(num_trials, patience) == pytest.approx(
        statistics.mean(run() for _ in range(20_000)), rel=0.03
    )


@pytest.mark.parametrize(("num_trials", "num_objectives"), [(1, 2), (7, 1), (12, 2), (12, 3)])
def test_as_many_trade_offs_are_expected_as_random_draws_have(num_trials: int, num_objectives: int) -> None:
    rng = random.Random(0)
    fronts = [
        sum(
            find_front([[rng.random() for _ in range(num_objectives)] for _ in range(num_trials)], [1] * num_objectives)
        )
        for _ in range(5000)
    ]
    assert expected_front(num_trials, num_objectives) == pytest.approx(statistics.mean(fronts), rel=0.03)
