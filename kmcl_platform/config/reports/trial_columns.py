"""The numbers that the record has of every trial beside the metrics of its training, and the names that are taken."""

from kmcl_platform.config.reports.costs import COSTS
from kmcl_platform.config.reports.epoch_report import objective_mode, objective_names
from kmcl_platform.messages import show_value
from kmcl_platform.plugins.metric import METRIC_NAME, is_metric_name

EPOCHS = "epochs"
EPOCH_SECONDS = "epoch_seconds"
WALL_SECONDS = "wall_seconds"
OBJECTIVE = "objective"

TAKEN = (EPOCHS, EPOCH_SECONDS, WALL_SECONDS, OBJECTIVE)
"""Metrics in MLflow that the record writes for each trial."""

_COLUMNS = ("trial", "rank", "outcome", "reason", "baseline", "seconds", "run_id")
"""Further columns of the tables of trials, in which the objective has a column too."""


def find_metric_problem(name: object) -> str | None:
    """Why an own training cannot have a metric of this name, as the end of a message; None: it can."""
    if is_metric_name(name) and name not in TAKEN:
        return None
    return f"got {show_value(name)}; valid: {METRIC_NAME}; and none of {', '.join(TAKEN)}"


def find_objective_problem(name: str, mode: str, *, own: bool) -> str | None:
    """Why a search cannot have such an objective, as the end of a message, from the field on; None: it can.

    Args:
        name: of the metric.
        mode: `maximize` or `minimize`.
        own: whether the training is the user's own, whose metrics have any names and directions.
    """
    if own and name in _COLUMNS:
        return f"metric: got {show_value(name)}; valid: another name, because the table of trials has a column {name}"
    if own:
        problem = find_metric_problem(name)
        return problem and f"metric: {problem}"
    if name in COSTS:
        return f"metric: got {name}; valid: a metric of the training; {name} can be a further one of `objectives`"
    if name not in objective_names():
        known = f"one of {', '.join(objective_names())}, or a metric of a plug-in that `plugins` lists"
        return f"metric: got {show_value(name)}; valid: {known}"
    wanted = objective_mode(name)
    # Otherwise the search would promote its worst trial. The metric of a plug-in may mean something else each time.
    may_differ = name not in objective_names(built_in=True)
    return (
        None
        if mode == wanted or may_differ
        else f"mode: got {mode}; valid: {wanted}, the direction in which {name} gets better"
    )
