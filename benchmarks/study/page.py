"""The page of the study: what the results say, tables and a plot, from the files of the cells alone."""

import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.study.plot import draw_differences
from benchmarks.study.settings import ARMS, CONDITIONS, REFERENCE, SEEDS
from kmcl_platform.files.atomic_write import atomic_file
from kmcl_platform.tracking.comparison.arms import Comparison, compare_arms

Results = dict[tuple[str, str, str], list[dict[str, Any]]]
"""Dataset, condition and arm of each cell, with the lines of its file."""

METRICS = {"mAP": "mean average precision", "CF1": "macro F1, with the thresholds that validation chose"}
INTRODUCTION = """\
Every arm of the table is tuned in every cell by a search of {trials} trials on validation mAP. Its best point is
trained again on {seeds} seeds that the search did not use, and the test split is scored once for each. All arms have
the same recipe, epochs and budget. The reference is the {reference} loss alone: the same training without KMCL's kernel
terms. The networks are frozen (ImageNet weights; a hidden layer of 256 units is trained) unless a name says
`fine-tuned`."""

PLOT = """\
Differences on the test split in percentage points, with intervals at the level of Holm's correction. A filled point is
a difference that is shown; an empty one may be chance. The intervals cover the chance between trainings of one point.
They do not cover the chance of the search: another search of the same length may find a better or a worse point, so a
difference in a single cell says less than one that returns in many cells."""

OTHERS = [arm for arm in ARMS if arm != REFERENCE]


def scores(results: Results, place: tuple[str, str], metric: str) -> dict[str, dict[int, float]]:
    """The test scores of each arm by seed, the reference first."""
    found = {
        arm: {one["seed"]: one[metric] for one in results.get((*place, arm), []) if metric in one and "seed" in one}
        for arm in [REFERENCE, *OTHERS]
    }
    return {arm: values for arm, values in found.items() if values or arm == REFERENCE}


def compare(results: Results, metric: str) -> dict[tuple[str, str], list[Comparison]]:
    """Every arm compared with the reference, for each dataset and condition; Holm's correction within one of these."""
    places = dict.fromkeys((dataset, condition) for dataset, condition, _ in results)
    return {place: compare_arms(scores(results, place, metric), metric=metric, sign=1) for place in places}


def count_verdicts(comparisons: dict[tuple[str, str], list[Comparison]], arm: str) -> tuple[int, int, int]:
    """In how many cells an arm is better than the reference, worse, or neither."""
    found = [one.better for several in comparisons.values() for one in several if one.arm == arm]
    better, worse = found.count(arm), found.count(REFERENCE)
    return better, worse, len(found) - better - worse


def mean_difference(comparisons: dict[tuple[str, str], list[Comparison]], arm: str, condition: str = "") -> str:
    """The mean of an arm's differences over datasets (and conditions), with a 95 % interval over these cells."""
    from scipy.stats import t

    values = [
        one.mean
        for (_, its_condition), several in comparisons.items()
        for one in several
        if one.arm == arm and one.mean is not None and condition in ("", its_condition)
    ]
    if len(values) < 2:
        return f"{values[0]:+.4f}" if values else ""
    half = float(t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / len(values) ** 0.5
    return f"{statistics.mean(values):+.4f} ± {half:.4f}"


def write_page(results: Results, path: Path, *, trials: int) -> None:
    """Write the page and, beside it, its plot."""
    comparisons = {metric: compare(results, metric) for metric in METRICS}
    picture = Path("../images/real_pictures.svg")
    draw_differences(comparisons, (path.parent / picture).resolve())
    datasets = list(dict.fromkeys(dataset for dataset, _, _ in results))
    lines = [
        "# Where does KMCL pay?",
        "",
        "Written by `python -m benchmarks.real_pictures`; the datasets are those of [datasets.md](datasets.md).",
        "",
        INTRODUCTION.format(trials=trials, seeds=len(SEEDS), reference=REFERENCE),
        "",
        "## What the numbers say",
        "",
        *_sentences(comparisons),
        "",
        f"![Differences from the {REFERENCE} loss]({picture})",
        "",
        PLOT,
        "",
    ]
    for metric, meaning in METRICS.items():
        lines += [f"## {metric}: {meaning}", "", *_table(results, comparisons[metric], metric), ""]
    lines += ["## Mean difference over the datasets", "", *_means(comparisons), ""]
    lines += ["## Do the kernels' variances find wrong decisions?", "", *_uncertainty(results), ""]
    lines += ["## What the searches chose", "", *_chosen(results, datasets)]
    with atomic_file(path) as draft:
        draft.write_text("\n".join(lines) + "\n")


def _sentences(comparisons: dict[str, dict[tuple[str, str], list[Comparison]]]) -> Iterable[str]:
    for metric, found in comparisons.items():
        yield f"**{metric}**, compared with the {REFERENCE} loss in {len(found)} cells:"
        yield ""
        for arm in OTHERS:
            better, worse, neither = count_verdicts(found, arm)
            yield (
                f"- `{arm}`: better in {better}, worse in {worse}, no difference shown in {neither}; "
                f"mean difference {mean_difference(found, arm)}."
            )
        yield ""


def _table(results: Results, found: dict[tuple[str, str], list[Comparison]], metric: str) -> Iterable[str]:
    yield f"| data | labels | {REFERENCE} | " + " | ".join(OTHERS) + " |"
    yield "|---" * (3 + len(OTHERS)) + "|"
    for place, several in found.items():
        own = scores(results, place, metric)
        cells = [_mean(own[REFERENCE].values())]
        by_arm = {one.arm: one for one in several}
        for arm in OTHERS:
            one = by_arm.get(arm)
            if one is None or one.mean is None:
                cells.append("")
                continue
            mark = "**" if one.better else ""
            cells.append(f"{_mean(own[arm].values())} ({mark}{one.mean:+.4f}{mark})")
        yield f"| {place[0]} | {place[1]} | " + " | ".join(cells) + " |"
    yield ""
    yield "Mean ± standard deviation over the seeds; in brackets the difference from the reference, bold if shown."


def _means(comparisons: dict[str, dict[tuple[str, str], list[Comparison]]]) -> Iterable[str]:
    yield "| metric | labels | " + " | ".join(OTHERS) + " |"
    yield "|---" * (2 + len(OTHERS)) + "|"
    for metric, found in comparisons.items():
        for condition in CONDITIONS:
            cells = " | ".join(mean_difference(found, arm, condition) for arm in OTHERS)
            yield f"| {metric} | {condition} | {cells} |"
    yield ""
    yield "With the 95 % interval over the datasets, which are few: it says how much a difference changes between them."


def _uncertainty(results: Results) -> Iterable[str]:
    yield "| arm | area of the variances | area of the entropy | cells |"
    yield "|---|---|---|---|"
    for arm in OTHERS:
        pairs = [
            (one["area, kernels"], one["area, entropy"])
            for (_, _, its_arm), lines in results.items()
            if its_arm == arm
            for one in lines
            if "area, kernels" in one
        ]
        if pairs:
            kernels, entropy = zip(*pairs, strict=True)
            cells = sum(its_arm == arm for _, _, its_arm in results)
            yield f"| {arm} | {_mean(kernels)} | {_mean(entropy)} | {cells} |"
    yield ""
    yield "The area under the ROC curve of wrong decisions, over all trainings; 0.5 is chance, below 0.5 is misleading."


def _chosen(results: Results, datasets: list[str]) -> Iterable[str]:
    yield "| data | labels | arm | best validation mAP | values |"
    yield "|---|---|---|---|---|"
    for dataset in datasets:
        for condition in CONDITIONS:
            for arm in ARMS:
                trials = [one for one in results.get((dataset, condition, arm), []) if "values" in one]
                if trials:
                    best = max(trials, key=lambda one: float(one["val"]))
                    values = ", ".join(f"{path.split('.')[1]} {value:.3g}" for path, value in best["values"].items())
                    yield f"| {dataset} | {condition} | {arm} | {best['val']:.4f} | {values} |"


def _mean(values: Iterable[float]) -> str:
    numbers = list(values)
    if not numbers:
        return ""
    spread = f" ± {statistics.stdev(numbers):.4f}" if len(numbers) > 1 else ""
    return f"{statistics.mean(numbers):.4f}{spread}"
