"""Pictures of a trial's scores on the validation split.

Legend of shapes: N images, K classes.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import precision_recall_curve

from kmcl_platform.data.report.cooccurrence import count_cooccurrence, order_by_similarity
from kmcl_platform.data.scores_file import SplitScores
from kmcl_platform.tracking.figures.classes import THRESHOLD, ClassResult

MAX_CURVES = 10
"""Classes in one picture. If there are more, one half of the shown classes are the best, the other the worst."""
MAX_CLASSES = 60
"""Classes in one picture. If there are more, the most frequent ones are shown: more names would be too small."""
_OWN, _BASELINE = "#3566a8", "#c0392b"


def draw_precision_recall(own: SplitScores, names: Sequence[str], results: Sequence[ClassResult], title: str) -> Figure:
    """Precision over recall of each class; the best and the worst classes if there are many.

    Args:
        own: the trial's scores.
        names: K names, as `to_picture_names` makes them.
        results: K results of `measure_classes`.
        title: the trial's name.
    """
    # `Figure` instead of pyplot, which would keep every figure of the process in memory.
    figure = Figure(figsize=(8.5, 5), layout="constrained")
    axes = figure.subplots()
    ranked = sorted(
        (k for k, one in enumerate(results) if one.average_precision is not None),
        key=lambda k: -(results[k].average_precision or 0.0),
    )
    shown = ranked if len(ranked) <= MAX_CURVES else ranked[: MAX_CURVES // 2] + ranked[-(MAX_CURVES // 2) :]
    for k in shown:
        known = own.targets_NK[:, k] >= 0
        precision, recall, _ = precision_recall_curve(own.targets_NK[known, k] == 1, own.scores_NK[known, k])
        # The number comes first: matplotlib leaves labels that begin with an underscore out of a legend.
        label = f"{results[k].average_precision:.2f} {names[k]}"
        # Steps, because average precision is a sum of steps and not the area under straight lines.
        axes.step(recall, precision, where="post", linewidth=1.2, label=label)
    axes.set(xlim=(0, 1.01), ylim=(0, 1.01), xlabel="recall", ylabel="precision")
    some = "" if len(shown) == len(ranked) else f", the best and the worst {MAX_CURVES // 2} of {len(ranked)} classes"
    axes.set_title(f"{title}: precision and recall on validation{some}", fontsize=10)
    if shown:
        axes.legend(title="average precision", fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
    axes.grid(alpha=0.3)
    return figure


def draw_classes(names: Sequence[str], results: Sequence[ClassResult], title: str) -> Figure:
    """Average precision of each class as a bar, and the baseline trial's as a mark."""
    shown = [k for k in _frequent([one.positives for one in results]) if results[k].average_precision is not None]
    # `barh` draws upwards, so the best class is at the top.
    shown.sort(key=lambda k: results[k].average_precision or 0.0)
    figure = Figure(figsize=(8.5, max(2.0, 0.8 + 0.22 * len(shown))), layout="constrained")
    axes = figure.subplots()
    axes.barh(range(len(shown)), [results[k].average_precision or 0.0 for k in shown], color=_OWN, label="this trial")
    marks = [(place, results[k].baseline) for place, k in enumerate(shown) if results[k].baseline is not None]
    if marks:
        places, values = zip(*marks, strict=True)
        axes.scatter(values, places, marker="|", s=90, color=_BASELINE, zorder=3, label="baseline trial")
    labels = [f"{names[k]} ({results[k].positives})" for k in shown]
    axes.set_yticks(range(len(shown)), labels, fontsize=8)
    axes.set(xlim=(0, 1), xlabel="average precision on validation (positive images in brackets)")
    axes.set_title(f"{title}: average precision of each class", fontsize=10)
    axes.legend(fontsize=8, loc="lower left", bbox_to_anchor=(1.01, 0))
    return figure


def draw_cooccurrence(own: SplitScores, names: Sequence[str], title: str) -> Figure:
    """Two matrices, of the true and of the predicted labels: the share of the row's images that show the column.

    Only images count for which both labels are known.
    """
    known_NK = own.targets_NK >= 0
    # A prediction counts only where the truth is known, so that both matrices are about the same images.
    predicted_NK = np.where(known_NK, own.scores_NK > THRESHOLD, -1).astype(np.int8)
    true, predicted = count_cooccurrence(own.targets_NK), count_cooccurrence(predicted_NK)
    frequent = set(_frequent((own.targets_NK == 1).sum(0).tolist()))
    # Classes that come together are neighbours. Both matrices have the order of the true labels.
    order = [k for k in order_by_similarity(true.correlation_KK()) if k in frequent]
    side = min(9.0, max(3.0, 0.3 * len(order) + 1))
    figure = Figure(figsize=(2 * side + 1, side), layout="constrained")
    columns = figure.subplots(1, 2)
    picture = None
    for axes, counted, what in ((columns[0], true, "true"), (columns[1], predicted, "predicted")):
        both_KK, given_KK = counted.both_KK.astype(float), np.maximum(counted.positive_KK, 1)
        share_KK = (both_KK / given_KK)[np.ix_(order, order)]
        # A class always comes with itself. NaN leaves the diagonal empty.
        np.fill_diagonal(share_KK, np.nan)
        picture = axes.imshow(share_KK, vmin=0, vmax=1, cmap="viridis")
        _name_axes(axes, [names[k] for k in order])
        axes.set_title(what, fontsize=10)
    if picture is not None:
        figure.colorbar(picture, ax=list(columns), label="share of the row's images that show the column")
    figure.suptitle(f"{title}: labels that come together on validation", fontsize=10)
    return figure


def _name_axes(axes: Axes, names: list[str]) -> None:
    size = 8 if len(names) <= 30 else 5
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=size)
    axes.set_yticks(range(len(names)), names, fontsize=size)


def _frequent(positives: Sequence[int]) -> list[int]:
    """The most frequent classes, as many as can be shown."""
    return sorted(range(len(positives)), key=lambda k: -positives[k])[:MAX_CLASSES]
