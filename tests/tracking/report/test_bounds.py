"""Bounds that the best trials are close to, and the ranges that are suggested."""

import pytest

from kmcl_platform.config.space.distributions import Choice, Distribution, Int, LogUniform, Uniform
from kmcl_platform.config.trial_config import Scalar
from kmcl_platform.tracking.report.bounds import find_limiting_bounds

LR = LogUniform(kind="loguniform", low=1e-4, high=1e-2)


def anything(path: str, value: Scalar) -> bool:
    return True


def suggested(distribution: Distribution, *values: float) -> list[tuple[str, str]]:
    found = find_limiting_bounds({"x": distribution}, [{"x": value} for value in values], anything)
    return [(one.side, one.suggestion) for one in found]


@pytest.mark.parametrize(
    ("distribution", "values", "expected"),
    [
        (LR, (9e-3, 8e-3, 1e-3), [("high", "low: 0.001, high: 0.1")]),
        (LR, (1.1e-4, 1.5e-4), [("low", "low: 1e-05, high: 0.001")]),
        (LR, (9e-3, 1e-3), []),
        (LR, (9e-3,), []),
        (Uniform(kind="uniform", low=0, high=1), (0.95, 0.93, 0.1), [("high", "low: 0.5, high: 1.5")]),
        (Uniform(kind="uniform", low=0, high=1), (0.5, 0.89, 0.89), []),
        (Int(kind="int", low=2, high=8), (2, 2, 5), [("low", "low: -1, high: 5")]),
        (Int(kind="int", low=16, high=256, log=True), (256, 256), [("high", "low: 64, high: 1024")]),
        (Int(kind="int", low=1000, high=20000), (19900, 20000), [("high", "low: 10500, high: 29500")]),
        (Choice(kind="choice", choices=(1, 2)), (2, 2), []),
    ],
)
def test_bounds_and_suggestions(
    distribution: Distribution, values: tuple[float, ...], expected: list[tuple[str, str]]
) -> None:
    assert suggested(distribution, *values) == expected


def test_only_valid_values_are_suggested() -> None:
    space = {"x": Int(kind="int", low=1, high=4), "y": Uniform(kind="uniform", low=0, high=1)}
    best: list[dict[str, Scalar]] = [{"x": 1, "y": 1.0}, {"x": 1, "y": 0.99}]

    def is_valid(path: str, value: Scalar) -> bool:
        return float(value) >= 1 if path == "x" else float(value) <= 1  # type: ignore[arg-type]

    assert [one.suggestion for one in find_limiting_bounds(space, best, is_valid)] == [
        "low: 1, high: 3", "low: 0.5, high: 1"
    ]  # fmt: skip


def test_paths_that_a_trial_did_not_search_do_not_count() -> None:
    (found,) = find_limiting_bounds({"lr": LR}, [{"lr": 9e-3}, {}, {"lr": 9.5e-3}, {}], anything)
    assert (found.path, found.side, found.bound, found.num_close, found.num_best) == ("lr", "high", 1e-2, 2, 2)


def test_a_suggestion_is_valid_after_it_was_rounded() -> None:
    space = {"optim.ema_decay": Uniform(kind="uniform", low=0, high=0.6664)}
    best = [{"optim.ema_decay": 0.66}, {"optim.ema_decay": 0.65}]
    # 0.9996 is valid, but it would be shown as 1.
    (found,) = find_limiting_bounds(space, best, lambda _, value: value is not None and 0 <= float(value) < 1)
    assert found.suggestion == "low: 0.333, high: 0.6664"


@pytest.mark.parametrize(
    ("low", "is_last", "suggestion"), [(1, True, "low: 1, high: 2"), (2, False, "low: 1, high: 3")]
)
def test_a_bound_beyond_which_nothing_is_valid_is_called_the_last_one(low: int, is_last: bool, suggestion: str) -> None:
    space = {"model.kernels_per_class": Int(kind="int", low=low, high=low + 2)}
    best = [{"model.kernels_per_class": low}] * 2
    [found] = find_limiting_bounds(space, best, lambda _, value: float(value) >= 1)
    assert (found.is_last, found.suggestion) == (is_last, suggestion)
