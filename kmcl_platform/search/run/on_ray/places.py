"""The number of simultaneous trials of a search that has a share of its cluster, as nodes come and go."""

import logging
import time
from collections.abc import Callable

from kmcl_platform.config.search_parts import Resources
from kmcl_platform.errors import ResourceError
from kmcl_platform.search.cluster.ray_session import trial_nodes
from kmcl_platform.search.cluster.resources import count_concurrent_trials

SECONDS_BETWEEN_LOOKS = 10.0

_logger = logging.getLogger(__name__)


class SharedPlaces:
    """Counts the trials that fit into the share, and tells a function when their number has changed."""

    def __init__(self, resources: Resources, places: int, changed: Callable[[int], None]) -> None:
        """
        Args:
            resources: of a trial.
            places: their number now.
            changed: receives the new number.
        """
        self._resources = resources
        self._places = places
        self._changed = changed
        self._next_look = time.monotonic() + SECONDS_BETWEEN_LOOKS

    def look(self) -> None:
        """Count again, if the last time is `SECONDS_BETWEEN_LOOKS` ago. Without a share nothing changes."""
        if self._resources.share is None or time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + SECONDS_BETWEEN_LOOKS
        try:
            places = count_concurrent_trials(trial_nodes(), self._resources)
        except ResourceError as error:
            # Nodes are away. The trials wait for them, as they do without a share.
            _logger.warning("the share of the cluster is not counted again: %s", error)
            return
        if places != self._places:
            self._places = places
            self._changed(places)
