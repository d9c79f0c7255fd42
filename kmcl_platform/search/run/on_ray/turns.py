"""Turns between searches on one Ray cluster: a group of workers that has trained for a while lets another search begin.

A group keeps its CPUs and GPUs from trial to trial. Without turns, a search that has taken the whole cluster would keep
it until its end, and a second one would wait for all that time.
"""

import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import ray
from ray.util.state import list_placement_groups
from ray.util.state.exception import RayStateApiException

YIELD_SECONDS = 20.0
"""How long a group that has ended waits for the other search to take its place, before it asks for a new one."""

_LIMIT = 10_000
_CANNOT_START = {"INFEASIBLE", "REMOVED"}
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Claim:
    """Another driver of this cluster that waits for workers, and holds less than this one.

    Attributes:
        job: its job on Ray.
        kind: what it waits for: `GPU`, or `CPU`.
        held: how many of them it has.
    """

    job: str
    kind: str
    held: float


def find_claim() -> Claim | None:
    """The driver that should have the next turn; None: no other one waits, or each has at least as much as this one."""
    groups = _list_groups()
    return choose_claim(groups, ray.get_runtime_context().get_job_id())


def choose_claim(groups: Iterable[Mapping[str, Any]], own: str) -> Claim | None:
    """As `find_claim`, of placement groups as Ray's state API gives them, for the driver with this job."""
    groups = list(groups)
    waiting = [
        group
        for group in groups
        if group["state"] == "PENDING"
        and group["creator_job_id"] != own
        and (group.get("stats") or {}).get("scheduling_state") not in _CANNOT_START
    ]
    claims = []
    for group in waiting:
        # Tune's groups ask for neither: they wait for nothing that a search could give.
        for kind in ("GPU", "CPU"):
            if _size(group, kind):
                held = _held(groups, group["creator_job_id"], kind)
                if held < _held(groups, own, kind):
                    claims.append(Claim(group["creator_job_id"], kind, held))
                break
    return min(claims, key=lambda claim: claim.held, default=None)


def wait_for_turn(claim: Claim) -> None:
    """Wait until the driver has got more, or `YIELD_SECONDS` are over. Call it after the own group has ended."""
    ends = time.monotonic() + YIELD_SECONDS
    while time.monotonic() < ends and _held(_list_groups(), claim.job, claim.kind) <= claim.held:
        time.sleep(0.5)


def describe(seconds: float) -> str:
    """A line for the user."""
    return f"its workers ended for another search of this cluster; after {seconds:.0f} s it asked for new ones"


def _list_groups() -> list[Mapping[str, Any]]:
    address = ray.get_runtime_context().gcs_address
    try:
        # A state has many fields, and not all versions of Ray give the same ones.
        return [vars(group) for group in list_placement_groups(address=address, detail=True, limit=_LIMIT)]
    except RayStateApiException as error:
        # Ray's dashboard, which answers here, may be away for a while. The next trial's end comes soon.
        _logger.warning("placement groups: not seen: %s", " ".join(str(error).split())[:300])
        return []


def _held(groups: Iterable[Mapping[str, Any]], job: str, kind: str) -> float:
    return sum(_size(one, kind) for one in groups if one["creator_job_id"] == job and one["state"] == "CREATED")


def _size(group: Mapping[str, Any], kind: str) -> float:
    return sum(float(bundle.get("unit_resources", {}).get(kind, 0)) for bundle in group["bundles"] or [])
