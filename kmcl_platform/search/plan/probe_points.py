"""Corners: the few trials of a space that are tried before the search.

In a corner, all numbers of the space are at their high bounds, at their low bounds, or in the middle. A range with
`zero` is at 0 in place of its low bound. Every choice occurs in one corner with high numbers, where it costs most, and
in one with middle numbers. Every path with a condition occurs at both of its bounds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from kmcl_platform.config.reports.measurement import Level, Measurement
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.space.distributions import Choice, Distribution, LogUniform
from kmcl_platform.config.trial_config import Scalar, TrialConfig

MAX_CORNERS = 16
"""The largest number of corners. Of more, those in the middle are dropped first (except one), then the cheapest."""

DRIVERS_OF_COST = (
    "data.batch_size",
    "data.image_size",
    "model.kernels_per_class",
    "model.reduced_dim",
    "model.projection_width",
    "model.kernel",
    "model.head",
    "model.backbone",
    "model.backbone_mode",
)
"""The paths that decide the cost of a trial, ordered: first the one whose range is the easiest to reduce."""

# The places of a number's low, high and middle in `Distribution.edges`.
_EDGE = {"low": 0, "high": 1, "middle": 2}


@dataclass(frozen=True)
class Corner:
    """One trial to try.

    Attributes:
        level: the position of its numbers within their bounds.
        values: the value of every path of the space that is searched in this trial; the base has the others.
    """

    level: Level
    values: dict[str, Scalar]


@dataclass(frozen=True)
class TriedCorner:
    """A corner and its result.

    Attributes:
        corner: the trial.
        measured: its costs; None: it did not run.
        failure: why it did not run, or that its loss was not finite; empty: neither.
        refused: the constraint that its model breaks, in words: such a trial ends before it trains, so nothing else was
            measured. Empty: it breaks none.
        refused_costs: what was measured of such a model, by metric.
    """

    corner: Corner
    measured: Measurement | None
    failure: str
    refused: str = ""
    refused_costs: Mapping[str, float] = field(default_factory=dict)


def choose_corners(file: SearchFile) -> list[Corner]:
    """The corners of a search's space, the costliest first; at most `MAX_CORNERS`.

    Raises:
        ConfigError: the space reaches an invalid trial.
    """
    high, low = _cover(file, "high"), _cover(file, "low", with_choices=False)
    bounds = sorted(_distinct(high + low), key=lambda corner: -_cost(file, corner))
    # If no number is searched, the levels differ in nothing: such corners are tried once.
    middle = [corner for corner in _cover(file, "middle") if corner.values not in [kept.values for kept in bounds]]
    # One place is reserved for the middle, from which the expected costs come.
    kept = bounds[: MAX_CORNERS - bool(middle)]
    return sorted(kept + middle[: MAX_CORNERS - len(kept)], key=lambda corner: -_cost(file, corner))


def cheapest_corners(file: SearchFile) -> list[Corner]:
    """Corners with low numbers in which each choice occurs; at most `MAX_CORNERS`."""
    return _distinct(_cover(file, "low"))[:MAX_CORNERS]


def list_uncovered(file: SearchFile, corners: list[Corner]) -> list[str]:
    """The bounds and choices that occur in no corner, in words."""
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
    low, high = _bounds(distribution)
    return f"{'high' if value == high else 'low' if value == low else 'value'} {value}"


def step_back(file: SearchFile, corner: Corner) -> list[tuple[str, Scalar, Corner]]:
    """Variants of a corner in which one path has another value, to find the path that a failure depends on.

    Returns:
        For each variant the path, its new value and the new corner; paths that decide the cost come first.
    """
    ranks = {path: rank for rank, path in enumerate(DRIVERS_OF_COST)}
    steps: list[tuple[str, Scalar, Corner]] = []
    for path in sorted(corner.values, key=lambda path: ranks.get(path, len(ranks))):
        for value in _bounds(file.space[path]):
            if value == corner.values[path]:
                continue
            # The new value may change which other paths are searched.
            values = _row(file, corner.level, {**corner.values, path: value}, 0)
            steps.append((path, value, Corner(corner.level, values)))
    return steps


def to_config(file: SearchFile, corner: Corner) -> TrialConfig:
    """The configuration of a corner.

    Raises:
        ConfigError: it is not valid.
    """
    return file.base.with_values(corner.values)


def _cover(file: SearchFile, level: Level, *, with_choices: bool = True) -> list[Corner]:
    """Corners of one level in which each number occurs at that level and, if wanted, each choice occurs."""
    wanted: list[tuple[str, Scalar]] = []
    for path, distribution in file.space.items():
        if not isinstance(distribution, Choice):
            wanted.append((path, _number(distribution, level)))
        elif with_choices:
            wanted += [(path, choice) for choice in distribution.choices]
    rows: list[Corner] = []
    while wanted:
        # Greedy: each corner is built for the first missing pair, and takes as many other missing pairs as fit. This
        # gives few corners, not always the fewest.
        path, value = wanted[0]
        forced = _conditions(file, path) | {path: value}
        for other, choice in wanted:
            # Choices of other paths that are still missing go into the same corner.
            if isinstance(file.space[other], Choice) and other not in forced:
                forced[other] = choice
        values = _row(file, level, forced, len(rows))
        rows.append(Corner(level, values))
        # `...` stands for a path that is not in the corner: None can be a value.
        wanted = [pair for pair in wanted[1:] if values.get(pair[0], ...) != pair[1]]
    return rows


def _row(file: SearchFile, level: Level, forced: dict[str, Scalar], turn: int) -> dict[str, Scalar]:
    """A value for every path whose condition holds: the forced one, or the level's number, or choice number `turn`."""
    values: dict[str, Scalar] = {}
    base = file.base.flat()
    for path, distribution in file.space.items():
        known = base | values
        # A forced path is left out too if its condition does not hold here. It stays missing, and gets another corner.
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
    """The conditions under which a path is searched, with the conditions of those conditions."""
    conditions: dict[str, Scalar] = {}
    for condition, value in file.space[path].when.items():
        conditions |= _conditions(file, condition) | {condition: value}
    return conditions


def _bounds(distribution: Distribution) -> list[Scalar]:
    """The low and the high bound, or every choice."""
    if isinstance(distribution, Choice):
        return distribution.edges()
    return [_number(distribution, "low"), _number(distribution, "high")]


def _number(distribution: Distribution, level: Level) -> Scalar:
    if level == "low" and isinstance(distribution, LogUniform) and distribution.zero:
        return 0.0
    return distribution.edges()[_EDGE[level]]


def _distinct(corners: list[Corner]) -> list[Corner]:
    kept: list[Corner] = []
    for corner in corners:
        if corner.values not in [other.values for other in kept]:
            kept.append(corner)
    return kept


def _cost(file: SearchFile, corner: Corner) -> float:
    """The expected cost of a corner, without a unit. The cost of a backbone is left out: only a run shows it."""
    config = to_config(file, corner)
    model = config.model
    # Anisotropic kernels have `reduced_dim` values of each mean and variance, isotropic ones have one.
    width = model.reduced_dim if model.kernel in ("anisotropic", "mahalanobis") else 1
    return float(config.data.batch_size * config.data.image_size**2 * model.kernels_per_class * width)
