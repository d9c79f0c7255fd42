"""Measure the corners of a search on one type of GPU, or on whatever its workers get."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console

from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.search_parts import Resources
from kmcl_platform.config.space.aims import list_constraints
from kmcl_platform.errors import ResourceError
from kmcl_platform.messages import count_of
from kmcl_platform.search.cluster.resources import count_concurrent_trials, count_trials_in_memory, list_types
from kmcl_platform.search.forecast.costs import Costs, checkpoint_share, to_costs
from kmcl_platform.search.plan.probe_points import (
    DRIVERS_OF_COST,
    TriedCorner,
    cheapest_corners,
    choose_corners,
    name_bound,
    step_back,
)

if TYPE_CHECKING:
    from kmcl_platform.search.plan.probe_runner import Prober


@dataclass(frozen=True)
class MeasuredType:
    """The corners of a search, measured on one type of GPU.

    Attributes:
        type: Ray's name of it; empty: the cluster has one type only, or the trials use no GPU.
        tried: the corners, the costliest first.
        concurrency: the trials that fit at the same time on the nodes of this type.
        in_memory: the trials that fit into their memory at the same time; None: no corner ran.
        costs: of a trial; None: no corner ran.
        refusal: why a corner failed, and which bound to change; empty: none failed.
    """

    type: str
    tried: list[TriedCorner]
    concurrency: int
    in_memory: int | None
    costs: Costs | None
    refusal: str


def resources_to_measure(nodes: Sequence[Mapping[str, float]], resources: Resources) -> list[Resources]:
    """The resources of a trial on each type of GPU of the cluster on which one fits.

    If there are not several such types, or the search asks for one, these are the resources themselves.
    """
    if not resources.gpus_per_worker or resources.accelerator_type:
        return [resources]
    fitting = []
    for name in list_types(nodes):
        one = resources.model_copy(update={"accelerator_type": name})
        try:
            count_concurrent_trials(nodes, one)
        except ResourceError:
            # Only workers on several types together make a trial.
            continue
        fitting.append(one)
    return fitting if len(fitting) > 1 else [resources]


def measure(
    file: SearchFile,
    prober: "Prober",
    nodes: Sequence[Mapping[str, float]],
    resources: Resources,
    console: Console,
) -> MeasuredType:
    """Run the first steps of each corner, and look for the bound that makes one fail.

    Args:
        file: the search.
        prober: its workers have these resources.
        nodes: of the cluster.
        resources: of a trial, with the type of GPU that is measured.
        console: where progress is shown.
    """
    kind = "" if resources == file.resources else resources.accelerator_type or ""
    where = f" on {kind}" if kind else ""
    corners = choose_corners(file)
    tried: list[TriedCorner] = []
    for number, corner in enumerate(corners, start=1):
        console.print(f"plan {file.name}: corner {number} of {len(corners)}{where}", highlight=False)
        tried.append(prober.try_corner(file, corner))
    if all(one.refused for one in tried):
        # The smallest models may keep the constraints: so far, most choices had high or middle numbers.
        for corner in cheapest_corners(file):
            if all(one.corner.values != corner.values for one in tried):
                console.print(f"plan {file.name}: a corner with smaller models{where}", highlight=False)
                tried.append(prober.try_corner(file, corner))
    measured = [(one.corner.level, one.measured) for one in tried if one.measured]
    costs = None
    if measured:
        costs = to_costs(measured, prober.start_seconds or 0.0, checkpoint_share=checkpoint_share(file))
    refusal = ""
    if failed := next((one for one in tried if one.failure), None):
        console.print(f"plan {file.name}: looking for the bound that makes a corner fail{where}", highlight=False)
        refusal = (f"on {kind}: " if kind else "") + _blame(file, failed, prober)
    elif not measured:
        # A corner that breaks a constraint is no fault of the space, unless there is no other.
        refusal = _refuse_constraints(file, tried)
    return MeasuredType(
        kind,
        tried,
        count_concurrent_trials(nodes, resources),
        # The costliest corner decides: trials like it may run at the same time.
        min((count_trials_in_memory(nodes, resources, found) for _, found in measured), default=None),
        costs,
        refusal,
    )


def _refuse_constraints(file: SearchFile, tried: Sequence[TriedCorner]) -> str:
    least = {one: min(corner.refused_costs[one.metric] for corner in tried) for one in list_constraints(file)}
    broken = [
        f"{one.metric} is at least {value:.4g}, not {one.bound:g}" for one, value in least.items() if value > one.bound
    ]
    why = ", ".join(broken) or "each can be kept, but not all of them together"
    return (
        f"constraints: none of the {count_of(len(tried), 'corner')} that were tried keeps them ({why}); valid: larger "
        "bounds, or a space with smaller models"
    )


def _blame(file: SearchFile, failed: TriedCorner, prober: "Prober") -> str:
    """The refusal for a corner that fails: it names the bound without which the corner runs, if there is one."""
    steps = step_back(file, failed.corner)
    if failed.measured:
        # A loss that is not finite depends on rates and weights more often than on the paths that decide the cost.
        steps.sort(key=lambda step: step[0] in DRIVERS_OF_COST)
    for path, value, corner in steps:
        # The first variant that runs names the bound. All others would cost minutes.
        found = prober.try_corner(file, corner)
        if found.measured and not found.failure:
            bound = name_bound(file.space[path], failed.corner.values[path])
            change = {"high": "a lower high", "low": "a higher low"}.get(bound.partition(" ")[0], "without it")
            return f"space.{path}: {bound}: {failed.failure}; valid: {change} (with {value} the same trial runs)"
    values = ", ".join(f"{path} {value}" for path, value in failed.corner.values.items())
    return (
        f"space: the trial {values}: {failed.failure}; it also fails if only one bound is changed; valid: a change of "
        "several bounds, or a smaller base"
    )
