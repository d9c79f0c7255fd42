"""Several objectives, and constraints on what a model costs.

The first objective is the search's main one: trials are ranked by it. The others, and the constraints, decide which
trials are trade-offs (no other trial is at least as good in everything and better in something) and which are refused.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from kmcl_platform.config.reports.costs import COSTS, LATENCY
from kmcl_platform.messages import show_value

if TYPE_CHECKING:
    from kmcl_platform.config.search_file import SearchFile

MOST = 3
"""Objectives of a search, at most: a front in more dimensions contains nearly every trial."""
BREAKS = " breaks the constraint "
"""Between the value of a refused trial and the constraint, in the reason of its end."""
_FORM = re.compile(r"<=?\s*(?P<bound>[0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)")


class Constraint(NamedTuple):
    """An upper bound.

    Attributes:
        metric: one of `COSTS`.
        bound: the largest value that is allowed.
    """

    metric: str
    bound: float

    def __str__(self) -> str:
        return f"{self.metric} <= {self.bound:g}"


def with_main_objective(tree: Any) -> Any:
    """The tree of a search file before it is read: the first of `objectives` is its `objective`.

    Without a scheduler in the file, several objectives have the one that stops nobody.

    Raises:
        ValueError: the file has another objective too.
    """
    if not isinstance(tree, dict) or tree.get("objectives", ()) in ((), []):
        return tree
    objectives = tree["objectives"]
    if not isinstance(objectives, list | tuple) or any(isinstance(one, str | int | float) for one in objectives):
        raise ValueError(
            f"objectives: got {show_value(objectives)}; valid: a list of two or three, such as [{{metric: val/mAP}}, "
            "{metric: latency_ms}]"
        )
    first = objectives[0]
    # A file that is written out has both.
    if "objective" in tree and tree["objective"] != first:
        raise ValueError("objective: got one beside `objectives`; valid: one of the two")
    return {"scheduler": {"kind": "none"}} | tree | {"objective": first}


def parse_bound(text: object) -> float | None:
    """The number of `<= 30` or `<30`, above 0; None: the text has another form."""
    found = _FORM.fullmatch(text.strip()) if isinstance(text, str) else None
    bound = float(found["bound"]) if found else 0.0
    return bound if 0 < bound < math.inf else None


def list_constraints(file: "SearchFile") -> list[Constraint]:
    """The constraints of a file that was read, in its order."""
    found = ((metric, parse_bound(text)) for metric, text in file.constraints.items())
    return [Constraint(metric, bound) for metric, bound in found if bound is not None]


def wanted_costs(file: "SearchFile") -> list[str]:
    """The costs that its trials have to measure."""
    named = {one.metric for one in file.objectives} | file.constraints.keys()
    return [cost for cost in COSTS if cost in named and not file.base.own]


def list_aims(file: "SearchFile") -> list[str]:
    """The metrics that count beside the main objective: the other objectives, then the constraints."""
    return list(dict.fromkeys([one.metric for one in file.objectives[1:]] + list(file.constraints)))


def find_broken(file: "SearchFile", metrics: Mapping[str, float]) -> str | None:
    """The first constraint that a trial breaks, with its value, in words; None: it keeps all of them."""
    for one in list_constraints(file):
        value = metrics.get(one.metric)
        if value is not None and value > one.bound:
            return f"{one.metric} {value:.4g}{BREAKS}{one}"
    return None


def is_ahead(one: Sequence[float], other: Sequence[float], signs: Sequence[int]) -> bool:
    """Whether a point is at least as good as another in every objective, and better in one.

    Args:
        one: the values of a trial, in the order of `signs`.
        other: those of another trial.
        signs: as for `find_front`.
    """
    return one != other and all(sign * own >= sign * value for sign, own, value in zip(signs, one, other, strict=True))


def find_front(points: Sequence[Sequence[float]], signs: Sequence[int]) -> list[bool]:
    """Which points are on the Pareto front: no other is at least as good in every objective and better in one.

    Args:
        points: the values of each trial, in the order of `signs`.
        signs: 1 where larger is better, -1 where smaller is.
    """
    better = [tuple(sign * value for sign, value in zip(signs, point, strict=True)) for point in points]
    front: list[tuple[float, ...]] = []
    larger = [1] * len(signs)
    # In this order no point is behind a later one, and of those before it only the front need be compared.
    for own in sorted(set(better), reverse=True):
        if not any(is_ahead(other, own, larger) for other in front):
            front.append(own)
    kept = set(front)
    return [own in kept for own in better]


def find_aims_problem(file: "SearchFile") -> str | None:
    """Why these objectives or constraints mean nothing, in words; None: they are valid."""
    return _find_objectives_problem(file) or _find_constraints_problem(file) or _find_other_fields_problem(file)


def _find_objectives_problem(file: "SearchFile") -> str | None:
    objectives = file.objectives
    if not objectives:
        return None
    names = [one.metric for one in objectives]
    if len(names) < 2 or len(names) > MOST:
        return f"objectives: got {len(names)}; valid: 2 or {MOST}; `objective` is for one"
    if len(set(names)) < len(names):
        return f"objectives: got {', '.join(names)}; valid: each metric once"
    if names[0] in COSTS:
        return f"objectives.0.metric: got {names[0]}; valid: a metric of the training first, by which trials are ranked"
    for place, one in enumerate(objectives):
        if one.metric in wanted_costs(file) and one.mode != "minimize":
            return f"objectives.{place}.mode: got {one.mode}; valid: minimize for {one.metric}, or leave it out"
    return None


def _find_constraints_problem(file: "SearchFile") -> str | None:
    for metric, text in file.constraints.items():
        if metric not in COSTS and not file.base.own:
            return f"constraints: got {show_value(metric)}; valid: {', '.join(COSTS)}"
        if parse_bound(text) is None:
            return f"constraints.{metric}: got {show_value(text)}; valid: an upper bound above 0, such as '<= 30'"
    return None


def _find_other_fields_problem(file: "SearchFile") -> str | None:
    if file.serving_device != "trial" and LATENCY not in wanted_costs(file):
        return (
            f"serving_device: got {file.serving_device}; valid: no value without {LATENCY} in objectives or "
            "constraints, because nothing else is measured there"
        )
    if len(file.objectives) > 1 and file.scheduler.stopping_epochs(file.base.num_epochs):
        return (
            f"scheduler.kind: got {file.scheduler.name}; valid: none with several objectives, because a trial that is "
            "behind in the first one may be the best in another"
        )
    if len(file.objectives) > 1 and file.budget.patience is not None:
        return (
            f"budget.patience: got {file.budget.patience}; valid: no value with several objectives, because there is "
            "no single best trial to wait for"
        )
    if (len(file.objectives) > 1 or file.constraints) and file.sampler.learns and not file.sampler.takes_aims:
        return (
            f"sampler.kind: got {file.sampler.name}; valid: one that can have several objectives and constraints: "
            "tpe, nsga2, gp, random, qmc or grid"
        )
    return None
