"""Gates: a value equal to its bound passes, an undefined one fails, and a gate without a bound is left out."""

import pytest

from kmcl_platform.config.after_search import Promotion
from kmcl_platform.registry.promotion.bootstrap import Difference
from kmcl_platform.registry.promotion.gates import GateResult, Measured, check_gates

ALL = Promotion(
    margin=0.01, class_tolerance=0.1, max_calibration_error=0.05, max_latency_ms=20, max_size_mb=100
)  # fmt: skip
GOOD = {
    "difference": Difference(0.02, 0.005, 0.03), "class_drops": {"cat": -0.1, "dog": 0.05},
    "calibration_error": 0.04, "latency_ms": 10.0, "size_mb": 90.0, "parity": 1e-7,
}  # fmt: skip


def check(bounds: Promotion = ALL, **changes: object) -> dict[str, GateResult]:
    return {result.gate: result for result in check_gates(Measured(**(GOOD | changes)), bounds)}  # type: ignore[arg-type]


def test_a_good_candidate_passes_every_gate() -> None:
    results = check()
    assert list(results) == [
        "mAP against the champion", "AP of the worst class", "calibration error", "latency (ms)", "size (MB)",
        "reload parity",
    ]  # fmt: skip
    assert all(result.passed for result in results.values())
    assert results["mAP against the champion"].text == (
        "+0.0200, 95 % interval [+0.0050, +0.0300]; bound: at least +0.0100, interval above 0"
    )
    assert results["AP of the worst class"].text == "-0.0500 (dog, of 2 classes); bound: at least -0.1000"
    assert results["latency (ms)"].text == "10; bound: at most 20"


@pytest.mark.parametrize(
    ("gate", "change"),
    [
        ("mAP against the champion", {"difference": Difference(0.0099, 0.005, 0.03)}),
        ("mAP against the champion", {"difference": Difference(0.02, 0.0, 0.03)}),
        ("mAP against the champion", {"difference": Difference(float("nan"), float("nan"), float("nan"))}),
        ("AP of the worst class", {"class_drops": {"cat": -0.1, "dog": 0.11}}),
        ("AP of the worst class", {"class_drops": {"cat": float("nan")}}),
        ("calibration error", {"calibration_error": 0.051}),
        ("calibration error", {"calibration_error": None}),
        ("latency (ms)", {"latency_ms": 20.1}),
        ("size (MB)", {"size_mb": 101.0}),
        ("reload parity", {"parity": 1.1e-5}),
        ("reload parity", {"parity": float("nan")}),
    ],
)
def test_a_value_beyond_its_bound_fails_one_gate(gate: str, change: dict[str, object]) -> None:
    results = check(**change)
    assert [name for name, result in results.items() if not result.passed] == [gate]


@pytest.mark.parametrize(
    "change",
    [
        {"difference": Difference(0.01, 1e-9, 0.03)}, {"class_drops": {"cat": 0.1}}, {"class_drops": {}},
        {"calibration_error": 0.05}, {"latency_ms": 20.0}, {"size_mb": 100.0}, {"parity": 1e-5},
    ],
)  # fmt: skip
def test_a_value_equal_to_its_bound_passes(change: dict[str, object]) -> None:
    assert all(result.passed for result in check(**change).values())


def test_a_first_champion_passes_the_gates_that_need_no_rival() -> None:
    assert list(check(difference=None)) == ["calibration error", "latency (ms)", "size (MB)", "reload parity"]


def test_a_champion_that_cannot_be_compared_with_fails_its_gate() -> None:
    results = check(difference=None, problem="version 3: its files are gone")
    failed = results["mAP against the champion"]
    assert (failed.passed, failed.value, failed.text) == (False, None, "not compared: version 3: its files are gone")
    assert all(result.passed for name, result in results.items() if name != failed.gate)


def test_without_bounds_only_the_gates_that_are_always_on_are_left() -> None:
    assert list(check(Promotion(class_tolerance=None))) == ["mAP against the champion", "reload parity"]
