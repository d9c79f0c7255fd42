"""Corners: the few trials of a space that are tried before it is searched.

A corner sets all numbers of the space to their high bounds, to their low bounds or to the middle between them. There
are as many of them as it takes for every choice to occur once with the high numbers, where it costs most, and once with
the middle ones, and for every path that is searched under a condition to occur at both its bounds.
"""

from dataclasses import dataclass

from kmcl_platform.config.distributions import Choice, Distribution
from kmcl_platform.config.reports.measurement import Level, Measurement
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.trial_config import Scalar, TrialConfig

MAX_CORNERS = 16
"""Corners at most; a space that has more loses those of the middle first, but one, then the cheapest."""

DRIVERS_OF_COST = (
    "data.batch_size",
    "data.image_size",
    "model.kernels_per_class",
    "model.reduced_dim",
    "model.kernel",
    "model.backbone",
)
"""The paths that decide what a trial takes, the one that is easiest to give up first."""

_EDGE = {"low": 0, "high": 1, "middle": 2}


@dataclass(frozen=True)
class Corner:
    """One trial to try.

    Attributes:
        level: where its numbers stand within their bounds.
        values: of every path of the space that is searched in it, over the base's.
    """

    level: Level
    values: dict[str, Scalar]


@dataclass(frozen=True)
class TriedCorner:
    """A corner and what came of it.

    Attributes:
        corner: the trial.
        measured: what it costs; none where it did not run.
        failure: why it did not run, or that its loss was not finite; empty where all is well.
    """

    corner: Corner
    measured: Measurement | None
    failure: str


def choose_corners(file: SearchFile) -> list[Corner]:
    """The corners of a search's space, the costliest first; at most `MAX_CORNERS`.

    Raises:
        ConfigError: the space reaches an invalid trial.
    """
    high, low = _cover(file, "high"), _cover(file, "low")
    bounds = sorted(_distinct(high + low), key=lambda corner: -_cost(file, corner))
    middle = [corner for corner in _cover(file, "middle") if corner.values not in [kept.values for kept in bounds]]
    kept = bounds[: MAX_CORNERS - bool(middle)]
    return sorted(kept + middle[: MAX_CORNERS - len(kept)], key=lambda corner: -_cost(file, corner))


def list_uncovered(file: SearchFile, corners: list[Corner]) -> list[str]:
    """The bounds and choices, in words, that stand in none of the corners."""
    tried = {(path, value) for corner in corners for path, value in corner.values.items()}
    return [
        f"space.{path}: {name_bound(distribution, value)}"
        for path, distribution in file.space.items()
        for value in _bounds(distribution)
        if (path, value) not in tried
    ]


def name_bound(distribution: Distribution, value: Scalar) -> str:
    """A value as the search file calls it, such as `high 8` or `choice 'rbf'`."""
    if isinstance(distribution, Choice):
        return f"choice {value!r}"
    low, high = distribution.edges()[:2]
    return f"{'high' if value == high else 'low' if value == low else 'value'} {value}"


def step_back(file: SearchFile, corner: Corner) -> list[tuple[str, Scalar, Corner]]:
    """The corner with one path at a time at its other bound, or another choice: to learn which one a failure hangs on.

    Returns:
        The path, its new value and the new corner; paths that drive the cost first.
    """
    ranks = {path: rank for rank, path in enumerate(DRIVERS_OF_COST)}
    steps: list[tuple[str, Scalar, Corner]] = []
    for path in sorted(corner.values, key=lambda path: ranks.get(path, len(ranks))):
        for value in _bounds(file.space[path]):
            if value == corner.values[path]:
                continue
            # A path on which others depend takes them with it.
            values = _row(file, corner.level, {**corner.values, path: value}, 0)
            steps.append((path, value, Corner(corner.level, values)))
    return steps


def to_config(file: SearchFile, corner: Corner) -> TrialConfig:
    """The corner as a trial.

    Raises:
        ConfigError: it is not a valid one.
    """
    return file.base.with_values(corner.values)


def _cover(file: SearchFile, level: Level) -> list[Corner]:
    """Rows of one level in which each number stands at that level once and, but for `low`, each choice once."""
    wanted: list[tuple[str, Scalar]] = []
    for path, distribution in file.space.items():
        if not isinstance(distribution, Choice):
            wanted.append((path, _number(distribution, level)))
        elif level != "low":
            wanted += [(path, choice) for choice in distribution.choices]
    rows: list[Corner] = []
    while wanted:
        path, value = wanted[0]
        forced = _conditions(file, path) | {path: value}
        for other, choice in wanted:
            # What is still wanted of other choices goes into the same row.
            if isinstance(file.space[other], Choice) and other not in forced:
                forced[other] = choice
        values = _row(file, level, forced, len(rows))
        rows.append(Corner(level, values))
        wanted = [pair for pair in wanted[1:] if values.get(pair[0], ...) != pair[1]]
    return rows


def _row(file: SearchFile, level: Level, forced: dict[str, Scalar], turn: int) -> dict[str, Scalar]:
    """A value of every path whose condition holds: the forced one, else the level's, else the turn's choice."""
    values: dict[str, Scalar] = {}
    base = file.base.flat()
    for path, distribution in file.space.items():
        known = base | values
        if any(known[condition] != value for condition, value in distribution.when.items()):
            continue
        if path in forced:
            values[path] = forced[path]
        elif isinstance(distribution, Choice):
            values[path] = distribution.choices[turn % len(distribution.choices)]
        else:
            values[path] = _number(distribution, level)
    return values


def _conditions(file: SearchFile, path: str) -> dict[str, Scalar]:
    """What has to hold for a path to be searched, the conditions of its conditions included."""
    conditions: dict[str, Scalar] = {}
    for condition, value in file.space[path].when.items():
        conditions |= _conditions(file, condition) | {condition: value}
    return conditions


def _bounds(distribution: Distribution) -> list[Scalar]:
    """The low and the high bound, or every choice."""
    return distribution.edges() if isinstance(distribution, Choice) else distribution.edges()[:2]


def _number(distribution: Distribution, level: Level) -> Scalar:
    return distribution.edges()[_EDGE[level]]


def _distinct(corners: list[Corner]) -> list[Corner]:
    kept: list[Corner] = []
    for corner in corners:
        if corner.values not in [other.values for other in kept]:
            kept.append(corner)
    return kept


def _cost(file: SearchFile, corner: Corner) -> float:
    """What a corner is expected to take, in no unit; what a backbone takes is not known before it has run."""
    config = to_config(file, corner)
    model = config.model
    width = model.reduced_dim if model.kernel in ("anisotropic", "mahalanobis") else 1
    return float(config.data.batch_size * config.data.image_size**2 * model.kernels_per_class * width)
