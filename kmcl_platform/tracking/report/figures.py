"""The figures of a report: Optuna's own plots, and the best value so far over the time spent."""

import math
import random
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import optuna
import plotly.graph_objects as go
from optuna.importance import get_param_importances
from optuna.trial import FrozenTrial, TrialState

from kmcl_platform.config.reports.epoch_report import TRAIN_LOSSES
from kmcl_platform.tracking.report.collect import Collected
from kmcl_platform.tracking.report.front import trade_offs
from kmcl_platform.tracking.report.searched_study import SearchedStudy, describe_zeros

HEIGHT = 420

MOST_EXPLAINED = 250
"""Trials that fANOVA explains. Its time grows with their square: 3 s for 250 and 130 s for 2,000, for each value."""


@dataclass(frozen=True)
class Figure:
    """One section of the report.

    Attributes:
        title: its heading.
        text: one or two sentences about what it shows.
        figure: Plotly's. None: it cannot be drawn, and `text` has the reason.
    """

    title: str
    text: str
    figure: go.Figure | None


def build_figures(data: Collected) -> Iterator[Figure]:
    """Every figure of the report, in its order."""
    metric = data.board.metric
    yield Figure(
        "Best so far",
        f"{metric} of each trial when it ended, over the time that all trials have used.",
        best_so_far(data),
    )
    if data.board.front():
        yield _draw(
            "Trade-offs",
            "Every trial of full length. The filled ones are trade-offs: no other trial is at least as good in every "
            f"objective and better in one. `kmcl promote {data.board.search} --trial N` takes one of them.",
            lambda: trade_offs(data.board),
        )
    yield _draw(
        "Importance",
        f"The share of the variance of {metric}, of the loss and of its terms that each parameter explains (fANOVA, "
        f"over the trials of full length; of more than {MOST_EXPLAINED}, over so many of them, drawn at random). With "
        "few trials these shares are uncertain.",
        lambda: importances(data),
    )
    searched, zeros = SearchedStudy(data.study, data.file.space), describe_zeros(data.file.space)
    yield _draw(
        "Parallel coordinates",
        f"One line for each trial of full length.{zeros}",
        lambda: optuna.visualization.plot_parallel_coordinate(searched, target_name=metric),
    )
    yield _draw(
        "Slices",
        f"{metric} over each parameter separately.{zeros}",
        lambda: optuna.visualization.plot_slice(searched, target_name=metric),
    )
    yield _draw(
        "Epoch by epoch",
        f"{metric} of each trial after every epoch, also of trials that were stopped early.",
        lambda: optuna.visualization.plot_intermediate_values(data.study).update_layout(
            xaxis_title="epoch", yaxis_title=metric
        ),
    )
    yield _draw(
        "Timeline", "When each trial ran, and how it ended.", lambda: optuna.visualization.plot_timeline(data.study)
    )


def best_so_far(data: Collected) -> go.Figure:
    """Objective of the trials in the order in which they ended, and the best so far, over GPU-hours or worker-hours.

    Trials without a finite value are not points of the figure, but their time counts. A diverged trial is one of them:
    the study has an infinite value for it.
    """
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
        completed = _is_completed(trial)
        points["completed" if completed else "stopped early"].append((spent, value, trial.number))
        # Only trials of full length count: the score of a trial is that of its last epoch.
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
    """Importance of each parameter for the objective, and for the last epoch's loss and its terms (fANOVA).

    Raises:
        ValueError, RuntimeError: there are too few trials of full length, or no parameter differs between them.
    """
    figure = go.Figure()
    targets: dict[str, Callable[[FrozenTrial], float] | None] = {data.board.metric: None}
    # By default Optuna copies every trial, which is not needed for reading.
    searched = SearchedStudy(data.study, data.file.space)
    done = [trial for trial in searched.get_trials(deepcopy=False) if _is_completed(trial)]
    if len(done) < 2:
        raise ValueError(f"got {len(done)} trial of full length; valid: 2 or more")
    if len(done) > MOST_EXPLAINED:
        done = random.Random(0).sample(done, MOST_EXPLAINED)
        searched.keep(done)
    for name in TRAIN_LOSSES:
        values = {data.metrics.get(trial.number, {}).get(name) for trial in done}
        # fANOVA cannot explain a term that a trial does not have, or that is equal in all trials.
        if None not in values and len(values) > 1:
            # NaN leaves a trial out. Optuna also asks about diverged trials, which may have no such metric.
            targets[name] = lambda trial, name=name: data.metrics.get(trial.number, {}).get(name, math.nan)  # type: ignore[misc]
    for name, target in targets.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            # fANOVA fits a random forest. The fixed seed gives the same report at each call.
            evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
            found = get_param_importances(searched, evaluator=evaluator, target=target)
        figure.add_bar(x=list(found.values()), y=list(found), orientation="h", name=name)
    figure.update_layout(barmode="group", xaxis_title="importance", yaxis_autorange="reversed")
    return figure


def _is_completed(trial: FrozenTrial) -> bool:
    # A diverged trial is COMPLETE too, with an infinite value (`search/study/study.py`).
    return trial.state == TrialState.COMPLETE and bool(trial.values) and all(map(math.isfinite, trial.values))


def _value(trial: FrozenTrial) -> float | None:
    if trial.state == TrialState.PRUNED:
        return trial.intermediate_values[trial.last_step] if trial.last_step is not None else None
    return trial.values[0] if _is_completed(trial) else None


def _draw(title: str, text: str, draw: Callable[[], go.Figure]) -> Figure:
    try:
        figure = draw()
    except (ValueError, RuntimeError) as error:
        # Optuna raises these for too few trials, or for trials that are all equal.
        reason = " ".join(str(error).split())
        return Figure(title, f"Not drawn: {reason}", None)
    figure.update_layout(title=None)
    return Figure(title, text, figure)
