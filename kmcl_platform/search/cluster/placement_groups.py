"""Placement groups without a user are removed: a trial could wait for their resources without end.

A controller of Ray Train creates a placement group, and then registers it with a process that removes it if the
controller dies. If the controller dies between these two steps, the placement group holds its resources until the job
ends.
"""

import logging

import ray
from ray import PlacementGroupID
from ray.util.placement_group import PlacementGroup, remove_placement_group
from ray.util.state import list_actors, list_placement_groups
from ray.util.state.exception import RayStateApiException

SECONDS_BETWEEN_LOOKS = 15.0
"""Longer than Ray Train needs to start actors in a new placement group, which is one or two seconds."""

_LIMIT = 10_000
_logger = logging.getLogger(__name__)


class ReservationWatch:
    """Removes placement groups of this job that had no actor in two checks, one after the other."""

    def __init__(self) -> None:
        self._unused: set[str] = set()

    def look(self) -> None:
        """Check all groups, and compare with the last check, which should be `SECONDS_BETWEEN_LOOKS` ago."""
        try:
            unused = _unused_reservations()
        except RayStateApiException as error:
            # Ray's dashboard, which answers here, may be away for a while; the next check comes soon.
            _logger.warning("placement groups: not checked: %s", " ".join(str(error).split())[:300])
            return
        for group_id in unused & self._unused:
            _logger.warning("placement group %s: removed: it has no actor and holds resources", group_id)
            _remove(group_id)
        self._unused = unused


def _unused_reservations() -> set[str]:
    context = ray.get_runtime_context()
    job, address = context.get_job_id(), context.gcs_address
    # The groups are listed first: a group whose actors start between the two lists then counts as used.
    groups = list_placement_groups(
        address=address, filters=[("creator_job_id", "=", job), ("state", "=", "CREATED")], limit=_LIMIT
    )
    actors = list_actors(
        address=address, filters=[("job_id", "=", job), ("state", "!=", "DEAD")], detail=True, limit=_LIMIT
    )
    used = {actor.placement_group_id for actor in actors}
    # Groups with a name are Tune's, which keeps them for a later trial.
    return {group.placement_group_id for group in groups if not group.name} - used


def _remove(group_id: str) -> None:
    remove_placement_group(PlacementGroup(PlacementGroupID(bytes.fromhex(group_id))))
