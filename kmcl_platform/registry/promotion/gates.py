"""Promotion gates: decisions from measured numbers, without reading or writing anything."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from kmcl_platform.config.after_search import Promotion
from kmcl_platform.registry.promotion.bootstrap import Difference

PARITY = 1e-5
"""Largest difference between a score in training, before calibration, and that of the registered model."""
AGAINST_CHAMPION = "mAP against the champion"
"""Name of the gate that compares the candidate with the champion."""


@dataclass(frozen=True)
class Measured:
    """The measurements of a candidate.

    Attributes:
        difference: its mAP on the test split minus the champion's. None: there is no champion to compare with.
        class_drops: for each class with enough positive test images, the champion's AP minus the candidate's.
        calibration_error: expected calibration error on the test split, of calibrated scores. None: no label is known.
        latency_ms: median time of one image.
        size_mb: size of the weights, in millions of bytes.
        parity: largest difference between a score of the model in a new process and the same score in training.
        problem: why the champion, which exists, could not be compared with. Empty: there is no such problem.
    """

    difference: Difference | None
    class_drops: Mapping[str, float]
    calibration_error: float | None
    latency_ms: float
    size_mb: float
    parity: float
    problem: str = ""


@dataclass(frozen=True)
class GateResult:
    """Whether a candidate passed one gate, and the numbers behind it.

    Attributes:
        gate: the gate's name.
        value: what was measured. None: undefined.
        bound: what the value was compared with.
        passed: the result.
        text: value and bound for people.
    """

    gate: str
    value: float | None
    bound: float
    passed: bool
    text: str

    def to_document(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)


def check_gates(measured: Measured, bounds: Promotion) -> list[GateResult]:
    """Compare a candidate with every bound that is set. Without a champion, the comparisons with it are left out."""
    results = []
    if measured.problem:
        results.append(GateResult(AGAINST_CHAMPION, None, bounds.margin, False, f"not compared: {measured.problem}"))
    if measured.difference is not None:
        results.append(_check_difference(measured.difference, bounds))
        if bounds.class_tolerance is not None:
            results.append(_check_classes(measured.class_drops, bounds.class_tolerance))
    if bounds.max_calibration_error is not None:
        results.append(_at_most("calibration error", measured.calibration_error, bounds.max_calibration_error))
    if bounds.max_latency_ms is not None:
        results.append(_at_most("latency (ms)", measured.latency_ms, bounds.max_latency_ms))
    if bounds.max_size_mb is not None:
        results.append(_at_most("size (MB)", measured.size_mb, bounds.max_size_mb))
    # Without a bound in the search file: this gate is always on.
    results.append(_at_most("reload parity", measured.parity, PARITY, digits=".1e"))
    return results


def _check_difference(difference: Difference, bounds: Promotion) -> GateResult:
    # NaN fails the gate: it is neither above nor equal to any bound.
    passed = difference.value >= bounds.margin and difference.low > 0
    interval = f"{100 * bounds.confidence:g} % interval [{difference.low:+.4f}, {difference.high:+.4f}]"
    text = f"{difference.value:+.4f}, {interval}; bound: at least {bounds.margin:+.4f}, interval above 0"
    return GateResult(AGAINST_CHAMPION, difference.value, bounds.margin, passed, text)


def _check_classes(drops: Mapping[str, float], tolerance: float) -> GateResult:
    gate = "AP of the worst class"
    if not drops:
        return GateResult(gate, None, tolerance, True, "no class has enough positive test images to be compared")
    worst = max(drops, key=lambda name: drops[name])
    text = f"{-drops[worst]:+.4f} ({worst}, of {len(drops)} classes); bound: at least {-tolerance:+.4f}"
    return GateResult(gate, -drops[worst], -tolerance, drops[worst] <= tolerance, text)


def _at_most(gate: str, value: float | None, bound: float, *, digits: str = ".4g") -> GateResult:
    shown = "undefined" if value is None else format(value, digits)
    # NaN fails the gate: it is not less than or equal to any bound.
    passed = value is not None and value <= bound
    return GateResult(gate, value, bound, passed, f"{shown}; bound: at most {bound:g}")
