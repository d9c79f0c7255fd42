"""The first trials of a search: its base, the other baselines, and the best points of earlier searches."""

from typing import TYPE_CHECKING

from kmcl_platform.config.search_parts import Baseline
from kmcl_platform.config.trial_config import Scalar
from kmcl_platform.messages import show_value

if TYPE_CHECKING:
    from kmcl_platform.config.search_file import SearchFile

MOST_SOURCES = 8
"""Earlier searches and archives that a search may begin with."""

ARCHIVE_SUFFIX = ".parquet"
"""The end of a path of an archive in `warm_start`; every other word is the name of a search."""


def active_paths(file: "SearchFile", values: dict[str, Scalar]) -> list[str]:
    """The paths of the space whose conditions hold in a trial with these values, which replace the base's."""
    config = file.base.flat() | values
    return [path for path, d in file.space.items() if all(config.get(p) == v for p, v in d.when.items())]


_PLAIN_LOSSES = ("asymmetric", "bce")
"""Baselines of every search of KMCL, in addition to its own classification loss."""


def list_baselines(file: "SearchFile") -> tuple[Baseline, ...]:
    """The baselines of a new search in addition to its base, in the order in which they are trained.

    By default, a search with the objective kmcl has the plain losses at the base's recipe. It has none if it leaves out
    the base too, compares losses by itself (with arms, or in the space), or lists its points in a grid.
    """
    if file.baselines is not None:
        return file.baselines
    compares_losses = bool(file.arms) or "loss.objective" in file.space
    loss = file.base.loss
    if file.base.own or not file.baseline or compares_losses or file.sampler.lists_points or not loss.uses_kernels:
        return ()
    # The plain losses need a weight above 0. Its size changes little: Adam's steps do not depend on it.
    weight: dict[str, Scalar] = {} if loss.asymmetric_weight else {"loss.asymmetric_weight": 1.0}
    names = dict.fromkeys((loss.classification, *_PLAIN_LOSSES))
    return tuple(Baseline(name=name, values=weight | {"loss.objective": name}) for name in names)


def base_name(file: "SearchFile") -> str:
    """The name of the base among the baselines: that of its loss, or `base` in an own training."""
    return "base" if file.base.own else file.base.loss.objective


def find_missing_room(file: "SearchFile") -> str | None:
    """Why the budget does not hold the named baselines and one more trial, in words; None: it does."""
    names = [*([base_name(file)] if file.baseline else []), *(one.name for one in list_baselines(file))]
    if file.budget.trials > len(names):
        return None
    return (
        f"budget.trials: got {file.budget.trials}; valid: at least {len(names) + 1}, for {len(names)} baselines "
        f"({', '.join(names)}) and one more trial; or fewer in baselines"
    )


def is_point(file: "SearchFile", baseline: Baseline) -> bool:
    """Whether a baseline is a point of the space: samplers then learn from it as from any other trial."""
    values = file.base.flat() | baseline.values
    active = active_paths(file, baseline.values)
    inside = all(file.space[path].contains(values.get(path)) for path in active)
    return inside and all(path in active for path in baseline.values)


def find_warm_start_problem(file: "SearchFile") -> str | None:
    """Why a search cannot begin with the points of the searches that `warm_start` names, in words; None: it can."""
    own = {file.name, *(f"{file.name}-{arm}" for arm in file.arms)}
    for place, word in enumerate(file.warm_start):
        where = f"warm_start.{place}: got {show_value(word)}"
        if word in own:
            return f"{where}, the name of this search; valid: an earlier search of the store, or an archive"
        if word in file.warm_start[:place]:
            return f"{where} twice; valid: each search once"
    if file.warm_start and file.sampler.lists_points:
        return (
            f"warm_start: got {', '.join(map(show_value, file.warm_start))}; valid: nothing with sampler.kind "
            f"{file.sampler.name}, which trains every point of the space"
        )
    return None
