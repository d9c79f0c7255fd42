"""Gates: the bound itself passes, an absent number does not."""

import pytest

from kmcl_platform.registry.gates import Gate, champion_gates, check_gates


@pytest.mark.parametrize(("value", "passed"), [(0.5, True), (0.51, True), (0.4999, False), (None, False)])
def test_a_gate_passes_at_its_bound(value: float | None, passed: bool) -> None:
    metrics = {} if value is None else {"test/mAP": value}
    (result,) = check_gates([Gate("test/mAP", 0.5)], metrics)
    assert result.passed is passed
    assert "test/mAP" in result.reason


def test_a_candidate_has_to_reach_the_champion() -> None:
    (gate,) = champion_gates("test/mAP", {"test/mAP": 0.7, "test/CF1": 0.9})
    assert (gate.metric, gate.at_least) == ("test/mAP", 0.7)


def test_not_a_number_does_not_pass() -> None:
    (result,) = check_gates([Gate("test/mAP", 0.5)], {"test/mAP": float("nan")})
    assert not result.passed
