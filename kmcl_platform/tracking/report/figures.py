"""The figures of a report: Optuna's own plots where they serve, and best-so-far against what was spent."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import optuna
import plotly.graph_objects as go
from optuna.importance import get_param_importances
from optuna.trial import FrozenTrial, TrialState

from kmcl_platform.config.reports.epoch_report import TRAIN_LOSSES
from kmcl_platform.tracking.report.collect import Collected

HEIGHT = 420


@dataclass(frozen=True)
class Figure:
    """One section of the report.

    Attributes:
        title: its heading.
        text: what it shows, in a sentence.
        figure: Plotly's; none where it cannot be drawn, and `text` says why.
    """

    title: str
    text: str
    figure: go.Figure | None


def build_figures(data: Collected) -> Iterator[Figure]:
    """Every figure of the report, in its order."""
    metric = data.board.metric
    yield Figure("Best so far", f"{metric} of each trial when it ended, over the time spent by all.", best_so_far(data))
    if len(data.study.directions) > 1:
        yield _draw("Pareto front", "Trials that no other beats in every objective.", lambda: _pareto(data))
        return
    yield _draw(
        "Importance",
        f"How much of the differences in {metric} each parameter explains, and of the loss and its terms (fANOVA, over "
        "the trials of full length). Little is sure of it for few trials.",
        lambda: importances(data),
    )
    yield _draw(
        "Parallel coordinates",
        "One line a trial of full length.",
        lambda: optuna.visualization.plot_parallel_coordinate(data.study, target_name=metric),
    )
    yield _draw(
        "Slices",
        f"{metric} by each parameter alone.",
        lambda: optuna.visualization.plot_slice(data.study, target_name=metric),
    )
    yield _draw(
        "Epoch by epoch",
        "What each trial had reached after every epoch, the stopped ones too.",
        lambda: optuna.visualization.plot_intermediate_values(data.study).update_layout(
            xaxis_title="epoch", yaxis_title=metric
        ),
    )
    yield _draw(
        "Timeline", "When each trial ran, and how it ended.", lambda: optuna.visualization.plot_timeline(data.study)
    )


def best_so_far(data: Collected) -> go.Figure:
    """Objective of trials in the order in which they ended, and the best until then, against GPU- or worker-hours."""
    sign = data.file.objective.sign
    ended = sorted(
        (t for t in data.study.get_trials(deepcopy=False) if t.state.is_finished() and t.datetime_complete),
        key=lambda trial: (trial.datetime_complete, trial.number),
    )
    seconds = {row.number: row.wall_seconds for row in data.board.rows}
    figure, spent, best = go.Figure(), 0.0, None
    steps: list[tuple[float, float]] = []
    points: dict[str, list[tuple[float, float, int]]] = {"completed": [], "stopped early": []}
    for trial in ended:
        spent += seconds.get(trial.number, 0.0) * data.devices / 3600
        value = _value(trial)
        if value is None:
            continue
        completed = trial.state == TrialState.COMPLETE
        points["completed" if completed else "stopped early"].append((spent, value, trial.number))
        if completed and (best is None or sign * value > sign * best):
            best = value
        if best is not None:
            steps.append((spent, best))
    figure.add_scatter(
        x=[x for x, _ in steps], y=[y for _, y in steps], mode="lines", line_shape="hv", name="best so far"
    )
    for name, colour in (("completed", "#3566a8"), ("stopped early", "#b9c0c9")):
        figure.add_scatter(
            x=[x for x, _, _ in points[name]],
            y=[y for _, y, _ in points[name]],
            text=[f"trial {number}" for _, _, number in points[name]],
            mode="markers",
            marker_color=colour,
            name=name,
        )
    figure.update_layout(xaxis_title=data.hours_name, yaxis_title=data.board.metric)
    return figure


def importances(data: Collected) -> go.Figure:
    """Importance of each parameter for the objective, and for the last epoch's loss and its terms.

    Raises:
        ValueError: there are too few trials of full length, or nothing differs between them.
        RuntimeError: as ValueError.
    """
    figure = go.Figure()
    targets: dict[str, Callable[[FrozenTrial], float] | None] = {data.board.metric: None}
    done = [trial for trial in data.study.get_trials(deepcopy=False) if trial.state == TrialState.COMPLETE]
    if len(done) < 2:
        raise ValueError(f"got {len(done)} trial of full length; valid: 2 or more")
    for name in TRAIN_LOSSES:
        values = {data.metrics.get(trial.number, {}).get(name) for trial in done}
        # A term that is computed in no trial, or the same in all, has nothing to explain.
        if None not in values and len(values) > 1:
            targets[name] = lambda trial, name=name: data.metrics[trial.number][name]  # type: ignore[misc]
    for name, target in targets.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
            found = get_param_importances(data.study, evaluator=evaluator, target=target)
        figure.add_bar(x=list(found.values()), y=list(found), orientation="h", name=name)
    figure.update_layout(barmode="group", xaxis_title="importance", yaxis_autorange="reversed")
    return figure


def _pareto(data: Collected) -> go.Figure:
    return optuna.visualization.plot_pareto_front(data.study)


def _value(trial: FrozenTrial) -> float | None:
    if trial.state == TrialState.COMPLETE:
        return trial.values[0] if trial.values else None
    return trial.intermediate_values[trial.last_step] if trial.last_step is not None else None


def _draw(title: str, text: str, draw: Callable[[], go.Figure]) -> Figure:
    try:
        figure = draw()
    except (ValueError, RuntimeError) as error:
        # Optuna's word for too few trials, or trials that are all alike.
        reason = " ".join(str(error).split())
        return Figure(title, f"Not drawn: {reason}", None)
    figure.update_layout(title=None)
    return Figure(title, text, figure)
