"""Spot nodes on AWS, and on-demand ones of the same kind where EC2 has no spot capacity.

Ray's autoscaler (2.60) has no such fallback: a launch that EC2 refuses is asked for again, of the same node type, for
as long as it is refused. It turns to another type only where an instance was granted and Ray did not come up on it.
A cluster file names this class as `provider.module`, with `provider.type: external`:
`kmcl_platform.search.cluster.aws_spot.SpotFirstProvider`.
"""

import logging
from typing import Any

from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
from ray.autoscaler.node_launch_exception import NodeLaunchException

MARKET = "InstanceMarketOptions"

NO_SPOT = frozenset({"InsufficientInstanceCapacity", "MaxSpotInstanceCountExceeded", "SpotMaxPriceTooLow"})
"""EC2's codes for a launch that the same request without a market option may still win."""

log = logging.getLogger(__name__)


class SpotFirstProvider(AWSNodeProvider):
    """Ray's provider for AWS, whose every launch of spot instances falls back to on-demand ones."""

    def _create_node(self, node_config: dict[str, Any], tags: dict[str, str], count: int) -> dict[str, Any]:
        # The base class has tried every subnet, so every availability zone, before it raises.
        try:
            return super()._create_node(node_config, tags, count)
        except NodeLaunchException as refusal:
            if MARKET not in node_config or refusal.category not in NO_SPOT:
                raise
            log.warning("no spot capacity (%s): launching on demand", refusal.category)
            on_demand = {name: value for name, value in node_config.items() if name != MARKET}
            return super()._create_node(on_demand, tags, count)
