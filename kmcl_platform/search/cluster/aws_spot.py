"""Spot nodes on AWS, and on-demand nodes of the same kind if EC2 has no spot capacity.

Ray's autoscaler (2.60) has no such fallback: it repeats a refused launch with the same node type, without end. It tries
another type only if EC2 gives an instance on which Ray does not start. A cluster file uses this class with
`provider.type: external` and `provider.module: kmcl_platform.search.cluster.aws_spot.SpotFirstProvider`.
"""

import logging
from typing import Any

from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
from ray.autoscaler.node_launch_exception import NodeLaunchException

MARKET = "InstanceMarketOptions"

NO_SPOT = frozenset({"InsufficientInstanceCapacity", "MaxSpotInstanceCountExceeded", "SpotMaxPriceTooLow"})
"""EC2's error codes for a spot launch that may succeed on demand."""

log = logging.getLogger(__name__)


class SpotFirstProvider(AWSNodeProvider):
    """Ray's node provider for AWS, with on-demand instances if a launch of spot instances is refused."""

    def _create_node(self, node_config: dict[str, Any], tags: dict[str, str], count: int) -> dict[str, Any]:
        # The base class tries every subnet, and so every availability zone, before it raises.
        try:
            return super()._create_node(node_config, tags, count)
        except NodeLaunchException as refusal:
            # Other refusals (no permission, a wrong image) would also refuse an on-demand launch.
            if MARKET not in node_config or refusal.category not in NO_SPOT:
                raise
            log.warning("no spot capacity (%s): launching on demand", refusal.category)
            # A new dictionary, because the caller's own must ask for spot again at the next launch.
            on_demand = {name: value for name, value in node_config.items() if name != MARKET}
            return super()._create_node(on_demand, tags, count)
