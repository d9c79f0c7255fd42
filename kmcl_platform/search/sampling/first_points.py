"""The points of earlier searches with which a search begins, its `warm_start`.

Legend of shapes: N trials, D numbers that describe a point.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from scipy.stats import rankdata

from kmcl_platform.config.first_trials import active_paths, is_point, list_baselines
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.trial_config import Scalar
from kmcl_platform.messages import count_of, show_value
from kmcl_platform.search.sampling.encoding import encode

MOST_POINTS = 3
"""Points with which a search begins, of all earlier searches together (docs/experiments/warm_start.md)."""

_NEIGHBOURS = 4
"""Trials whose mean rank says how good a region is, the trial itself included."""

_SAME_MEANING = ("loss.objective", "loss.formulation", "loss.kernel_scale", "loss.balance", "optim.optimizer")
"""Paths that decide what weights and learning rates mean. A trial with another value tells nothing, unless the path is
searched."""


@dataclass(frozen=True)
class FormerTrial:
    """A trial of an earlier search that has ended, without its failures.

    Attributes:
        search: the name of its search.
        number: the trial's number there.
        values: of every path of its configuration.
        value: its objective. None: it was stopped early or diverged, or it is left out.
        is_left_out: whether its model breaks a constraint of the new search.
    """

    search: str
    number: int
    values: Mapping[str, Scalar] = field(repr=False)
    value: float | None
    is_left_out: bool = False


@dataclass(frozen=True)
class FirstPoint:
    """A point of an earlier search that is trained again.

    Attributes:
        search: the name of the earlier search.
        number: the trial's number there.
        value: its objective there.
        values: of the searched paths that have an effect.
    """

    search: str
    number: int
    value: float
    values: dict[str, Scalar]


class WarmStart(NamedTuple):
    """The points with which a search begins, and a line for the user about each earlier search."""

    points: Sequence[FirstPoint] = ()
    lines: Sequence[str] = ()


COLD = WarmStart()
"""A search that begins without earlier ones."""


def choose_first_points(trials: Sequence[FormerTrial], file: SearchFile) -> list[FirstPoint]:
    """The best points of one earlier search that lie in this file's space, the best first.

    The best single trial of a search was lucky too. So a trial counts half with its own rank, and half with the mean
    rank of the trials around it. Values are compared by rank, because those of other data have another scale.

    Args:
        trials: of one earlier search.
        file: the search that begins.
    """
    inside = [trial for trial in trials if find_difference(trial, file) is None]
    if not inside:
        return []
    points_ND = np.array([encode(_searched(trial, file), file) for trial in inside])
    # Trials that were stopped early are worse than those of full length, and equal to one another.
    worst = -np.inf
    values_N = [worst if one.value is None else file.objective.sign * one.value for one in inside]
    ranks_N = rankdata(values_N)
    distances_NN = ((points_ND[:, None] - points_ND[None]) ** 2).sum(-1)
    nearest_NK = np.argsort(distances_NN, axis=1, kind="stable")[:, :_NEIGHBOURS]
    scores_N = ranks_N + ranks_N[nearest_NK].mean(1)
    ordered = [inside[row] for row in np.argsort(-scores_N, kind="stable")]
    return [
        FirstPoint(one.search, one.number, one.value, _searched(one, file)) for one in ordered if one.value is not None
    ]


def take_in_turn(found: Iterable[Sequence[FirstPoint]], file: SearchFile) -> list[FirstPoint]:
    """The first points of a search: of each earlier search its best, then of each the second best, and so on.

    No point comes twice, nor is it one of the baselines. They are at most half of the trials that are not baselines.
    """
    base, baselines = file.base.flat(), list_baselines(file)
    known = [baseline.values for baseline in baselines if is_point(file, baseline)] + [{}] * file.baseline
    taken = [{path: (base | values)[path] for path in active_paths(file, values)} for values in known]
    room = file.budget.trials - len(baselines) - file.baseline
    chosen: list[FirstPoint] = []
    for point in filter(None, itertools.chain.from_iterable(itertools.zip_longest(*found))):
        if len(chosen) < min(MOST_POINTS, max(1, room // 2)) and point.values not in taken:
            chosen.append(point)
            taken.append(point.values)
    return chosen


def find_difference(trial: FormerTrial, file: SearchFile) -> str | None:
    """Why a trial is no point of a file's space, in words; None: it is."""
    base = file.base.flat()
    for path in _SAME_MEANING:
        got, here = trial.values.get(path), base.get(path)
        if path not in file.space and got != here:
            return f"{path} {show_value(got)}, here {show_value(here)}"
    for path in active_paths(file, _searched(trial, file)):
        got = trial.values.get(path)
        if not file.space[path].contains(got):
            return f"{path} {show_value(got)}, outside of the range here"
    return None


def describe(name: str, trials: Sequence[FormerTrial], inside: int, chosen: Sequence[FirstPoint]) -> str:
    """A line for the user about one earlier search."""
    numbers = [str(point.number) for point in chosen if point.search in {trial.search for trial in trials}]
    begins = f"begins with {'trials' if len(numbers) > 1 else 'trial'} {', '.join(numbers)}" if numbers else "no turn"
    breaking = sum(trial.is_left_out for trial in trials)
    breaks = f", {breaking} left out because of a constraint" if breaking else ""
    return f"warm start: {name}: {inside} of {count_of(len(trials), 'trial')} lie in this space{breaks}; {begins}"


def _searched(trial: FormerTrial, file: SearchFile) -> dict[str, Scalar]:
    """A trial's values of the searched paths that have an effect."""
    known = {path: trial.values[path] for path in file.space if path in trial.values}
    return {path: known.get(path) for path in active_paths(file, known)}
