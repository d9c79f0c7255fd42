"""The fallback from spot to on-demand nodes. A stand-in answers for EC2."""

from typing import Any

import pytest
from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
from ray.autoscaler.node_launch_exception import NodeLaunchException

from kmcl_platform.search.cluster.aws_spot import SpotFirstProvider

SPOT = {"InstanceType": "g5.2xlarge", "InstanceMarketOptions": {"MarketType": "spot"}}
ON_DEMAND = {"InstanceType": "g5.2xlarge"}


@pytest.fixture
def launches(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The launches that EC2 got. It refuses one for each code in `refusals`."""
    asked: list[dict[str, Any]] = []

    def answer(self: Any, node_config: dict[str, Any], tags: dict[str, str], count: int) -> dict[str, Any]:
        asked.append(node_config)
        if self.refusals:
            raise NodeLaunchException(self.refusals.pop(0), "refused", None)
        return {"i-1": count}

    monkeypatch.setattr(AWSNodeProvider, "_create_node", answer)
    return asked


def _provider(*refusals: str) -> SpotFirstProvider:
    provider = SpotFirstProvider.__new__(SpotFirstProvider)  # The constructor would connect to AWS.
    provider.refusals = list(refusals)
    return provider


def test_spot_nodes_are_launched_if_ec2_has_some(launches: list[dict[str, Any]]) -> None:
    assert _provider()._create_node(SPOT, {}, 2) == {"i-1": 2}
    assert launches == [SPOT]


@pytest.mark.parametrize("code", ["InsufficientInstanceCapacity", "MaxSpotInstanceCountExceeded", "SpotMaxPriceTooLow"])
def test_without_spot_capacity_the_launch_is_repeated_on_demand(launches: list[dict[str, Any]], code: str) -> None:
    assert _provider(code)._create_node(SPOT, {}, 2) == {"i-1": 2}
    assert launches == [SPOT, ON_DEMAND]


@pytest.mark.parametrize(
    ("config", "code"), [(SPOT, "UnauthorizedOperation"), (ON_DEMAND, "InsufficientInstanceCapacity")]
)
def test_any_other_refusal_is_an_error(launches: list[dict[str, Any]], config: dict[str, Any], code: str) -> None:
    with pytest.raises(NodeLaunchException, match=code):
        _provider(code)._create_node(config, {}, 1)
    assert launches == [config]


def test_no_capacity_at_all_is_an_error(launches: list[dict[str, Any]]) -> None:
    code = "InsufficientInstanceCapacity"
    with pytest.raises(NodeLaunchException, match=code):
        _provider(code, code)._create_node(SPOT, {}, 1)
    assert launches == [SPOT, ON_DEMAND]
