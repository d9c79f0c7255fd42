"""The plot of the study: every arm's difference from the reference in every cell."""

from pathlib import Path

from benchmarks.study.settings import ARMS, CONDITIONS, REFERENCE
from kmcl_platform.tracking.comparison.arms import Comparison


def draw_differences(comparisons: dict[str, dict[tuple[str, str], list[Comparison]]], path: Path) -> None:
    """Write an SVG: a row of panels for each metric, a panel for each condition.

    Args:
        comparisons: for each metric, those of each dataset and condition.
        path: of the file.
    """
    import matplotlib

    matplotlib.use("svg")
    # Fixed names inside the file: the same results give the same bytes.
    matplotlib.rcParams["svg.hashsalt"] = "kmcl"
    import matplotlib.pyplot as plt
    from matplotlib.lines import Line2D

    metrics, arms = list(comparisons), [arm for arm in ARMS if arm != REFERENCE]
    datasets = list(dict.fromkeys(dataset for found in comparisons.values() for dataset, _ in found))
    size = (3.2 * len(CONDITIONS), 0.28 * len(arms) * len(datasets) * len(metrics) / 2 + 2)
    figure, axes = plt.subplots(
        len(metrics), len(CONDITIONS), figsize=size, sharey=True, sharex="row", squeeze=False, layout="constrained"
    )
    colours = plt.colormaps["tab10"].colors  # type: ignore[attr-defined]
    for row, metric in enumerate(metrics):
        for column, condition in enumerate(CONDITIONS):
            panel = axes[row, column]
            panel.axvline(0, color="grey", linewidth=0.8)
            panel.set_title(f"{metric}, {condition}", fontsize=9)
            for place, dataset in enumerate(datasets):
                for one in comparisons[metric].get((dataset, condition), []):
                    if one.mean is None or one.low is None or one.high is None:
                        continue
                    height = -arms.index(one.arm) - 0.8 * place / len(datasets)
                    panel.plot([100 * one.low, 100 * one.high], [height] * 2, color=colours[place], linewidth=1)
                    fill = colours[place] if one.better else "white"
                    panel.plot(100 * one.mean, height, "o", color=colours[place], markerfacecolor=fill, markersize=4)
            panel.set_yticks([-place - 0.4 for place in range(len(arms))], arms, fontsize=8)
            panel.tick_params(axis="x", labelsize=8)
    handles = [
        Line2D([], [], color=colours[place], marker="o", linewidth=1, label=name) for place, name in enumerate(datasets)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(datasets), fontsize=8)
    figure.supxlabel(f"difference from the {REFERENCE} loss, percentage points", fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
