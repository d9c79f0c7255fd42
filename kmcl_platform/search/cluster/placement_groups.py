"""Reservations that nobody uses any more, and that would keep a trial waiting for ever.

A controller of Ray Train makes a placement group, and a moment later tells a guard, which removes it should the
controller die. If it dies in that moment, its placement group holds resources until the whole job ends.
"""

import logging

import ray
from ray import PlacementGroupID
from ray.util.placement_group import PlacementGroup, remove_placement_group
from ray.util.state import list_actors, list_placement_groups
from ray.util.state.exception import RayStateApiException

SECONDS_BETWEEN_LOOKS = 15.0
"""Longer than the workers of a new placement group take to be asked for, which is a second or two."""

_LIMIT = 10_000
_logger = logging.getLogger(__name__)


class ReservationWatch:
    """Looks again and again, and removes placement groups of this job that were without an actor twice in a row."""

    def __init__(self) -> None:
        self._unused: set[str] = set()

    def look(self) -> None:
        """Compare with the last look, which should be `SECONDS_BETWEEN_LOOKS` ago."""
        try:
            unused = _unused_reservations()
        except RayStateApiException as error:
            # The state is served by the dashboard, which may be away for a while: the next look is soon.
            _logger.warning("placement groups: not looked at: %s", " ".join(str(error).split())[:300])
            return
        for group_id in unused & self._unused:
            _logger.warning("placement group %s: removed: it has no actor, and held resources", group_id)
            _remove(group_id)
        self._unused = unused


def _unused_reservations() -> set[str]:
    context = ray.get_runtime_context()
    job, address = context.get_job_id(), context.gcs_address
    # The groups first: one whose actors come between the two is then seen as used.
    groups = list_placement_groups(
        address=address, filters=[("creator_job_id", "=", job), ("state", "=", "CREATED")], limit=_LIMIT
    )
    actors = list_actors(
        address=address, filters=[("job_id", "=", job), ("state", "!=", "DEAD")], detail=True, limit=_LIMIT
    )
    used = {actor.placement_group_id for actor in actors}
    # Those of Tune have names, and are its own to keep for a later trial.
    return {group.placement_group_id for group in groups if not group.name} - used


def _remove(group_id: str) -> None:
    remove_placement_group(PlacementGroup(PlacementGroupID(bytes.fromhex(group_id))))
