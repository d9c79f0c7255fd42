"""Promotion gates: pure decisions over measured numbers."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Gate:
    """A bound that a candidate has to meet.

    Attributes:
        metric: name of the number that is held against the bound.
        at_least: smallest value that passes.
    """

    metric: str
    at_least: float


@dataclass(frozen=True)
class GateResult:
    """One gate's verdict, with what it was based on."""

    metric: str
    value: float | None
    threshold: float
    passed: bool
    reason: str


def champion_gates(deciding: str, champion: dict[str, float]) -> list[Gate]:
    """The gates of a promotion against a champion measured on the same images: not to be worse."""
    return [Gate(deciding, champion[deciding])]


def check_gates(gates: list[Gate], metrics: dict[str, float]) -> list[GateResult]:
    """Hold a candidate's metrics against every gate; a metric that is absent does not pass."""
    results = []
    for gate in gates:
        value = metrics.get(gate.metric)
        passed = value is not None and value >= gate.at_least
        shown = "undefined" if value is None else f"{value:.4f}"
        reason = f"{gate.metric} {shown} {'>=' if passed else '<'} {gate.at_least:.4f}, the champion's"
        results.append(GateResult(gate.metric, value, gate.at_least, passed, reason))
    return results
