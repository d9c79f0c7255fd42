"""The report of `benchmarks.digits_arms`: docs/experiments/digits_arms.md."""

import json
import statistics
from pathlib import Path
from typing import Any

from benchmarks.digits_settings import COMPARISONS, MISSED, SEEDS, SETTINGS, SHOWN, STOPS_EARLY


def interval(values: list[float]) -> tuple[float, float]:
    """Mean and half-width of the 95 % t-interval."""
    from scipy.stats import t

    # The standard error of the mean. `stdev` divides by n - 1, as the t-interval needs.
    spread = statistics.stdev(values) / len(values) ** 0.5
    return statistics.mean(values), float(t.ppf(0.975, len(values) - 1)) * spread


def write_report(work: Path, command: str) -> str:
    """The report of every setting that has a score from all arms on two seeds or more."""
    found = {s: json.loads((work / f"{s}.json").read_text()) for s in SETTINGS if (work / f"{s}.json").exists()}
    parts = [PREFACE.format(command=command, seeds=f"{SEEDS[0]} to {SEEDS[-1]}")]
    parts += [describe_setting(setting, result) for setting, result in found.items()]
    scores = {
        (setting, arm): {int(seed): score for seed, score in tuned["test"].items()}
        for setting, result in found.items()
        for arm, tuned in result["arms"].items()
    }
    return "\n".join([*parts, describe_all(scores)])


PREFACE = """# Does KMCL help? Four settings of the digits

`{command}` writes this page, on two CPU cores, with all numbers below.

Every arm of `search_spaces/digits_arms.yaml` is tuned on the validation split, with the same number of trials, the same
scheduler and the same sampler seed (small network `test_resnet`, images of 32 pixels, batch 64, AdamW). Its best trial
is then trained again with the seeds {seeds}, which the search did not use. The averaged weights are scored on the test
split. Intervals are 95 % t-intervals over the seeds. Differences are paired by seed.

What the intervals do not cover:

- They cover the noise of training only. The tuned values and the test images are fixed. Another search would find other
  values, and other test images would change the scores of every arm.
- The KMCL arms search five values. BCE and the asymmetric loss search one (the learning rate), with as many trials.
  `loss.gamma_negative` is the published 4 in every arm.
- If the tuned weights of reconstruction and contrast are near their low bound, 0.003, the tuned KMCL is nearly the
  asymmetric loss.
- If successive halving stops most trials early, the averaged weights (decay 0.99) mean little when it decides, and
  few trials of an arm reach full length. The arms are then tuned coarsely. The control of each setting shows where
  this did harm.
- Each interval is one of twelve (three comparisons in four settings), without correction: 0.6 of twelve would exclude
  zero by chance alone. The last section corrects for this.
"""


def describe_setting(setting: str, result: dict[str, Any]) -> str:
    """A setting's data, tuned values, scores and differences, in Markdown."""
    arms: dict[str, Any] = result["arms"]
    data = result["data"]
    # Only seeds that all arms have: differences are paired by seed.
    seeds = [seed for seed in map(str, SEEDS) if all(seed in arm["test"] for arm in arms.values())]
    images = " / ".join(str(count) for count in data["images"].values())
    description = (SETTINGS[setting][0].__doc__ or "").strip()
    stops = "trials are stopped from epoch 1 on" if SETTINGS[setting][2] is STOPS_EARLY else "no trial is stopped early"
    lines = [
        f"## {setting}",
        "",
        f"{description} Images to train / validate / test: {images}. {data['labels_per_image']:.2f} labels per "
        f"training image; positives of the classes 0 to 9 in training: {', '.join(map(str, data['positives']))}.",
        f"{result['trials']} trials per arm, {result['epochs']} epochs, {len(seeds)} seeds, "
        f"{result['minutes']:.0f} minutes; {stops}.",
        "",
        "| arm | trials finished / stopped early | best trial | val mAP % | tuned values |",
        "|---|---|---|---|---|",
    ]
    for arm, tuned in arms.items():
        outcomes = tuned["outcomes"]
        values = ", ".join(f"{path.split('.')[-1]} {round_value(value)}" for path, value in tuned["values"].items())
        ended = f"{outcomes.get('completed', 0)} / {outcomes.get('pruned', 0)}"
        lines.append(f"| {SHOWN[arm]} | {ended} | {tuned['trial']} | {100 * tuned['val']:.2f} | {values} |")
    if len(seeds) < 2:
        return "\n".join([*lines, "", "Not finished: no scores from all arms on two seeds.", ""])
    lines += ["", "| | test mAP % | each seed |", "|---|---|---|"]
    for arm, tuned in arms.items():
        scores = [tuned["test"][seed] for seed in seeds]
        mean, half = interval(scores)
        lines.append(f"| {SHOWN[arm]} | {mean:.2f} ± {half:.2f} | {', '.join(f'{score:.2f}' for score in scores)} |")
    results = []
    for one, other in COMPARISONS:
        # Paired: both scores have the same seed, so what they share cancels.
        differences = [arms[one]["test"][seed] - arms[other]["test"][seed] for seed in seeds]
        mean, half = interval(differences)
        low, high = mean - half, mean + half
        each = ", ".join(f"{difference:+.2f}" for difference in differences)
        lines.append(
            f"| **{SHOWN[one]} - {SHOWN[other]}** | **{mean:+.2f}**, interval [{low:+.2f}, {high:+.2f}] | {each} |"
        )
        results.append(
            f"{SHOWN[one]} {mean:+.2f} against {SHOWN[other]}, interval [{low:+.2f}, {high:+.2f}]"
            if low > 0 or high < 0
            else f"no difference shown between {SHOWN[one]} and {SHOWN[other]} ({mean:+.2f}, [{low:+.2f}, {high:+.2f}])"
        )
    title = "Result for the arms as tuned, not for the objectives" if find_missed(result) else "Result"
    return "\n".join([*lines, "", *describe_control(result), f"{title}: {'; '.join(results)}.", ""])


def describe_all(scores: dict[tuple[str, str], dict[int, float]]) -> str:
    """Every comparison with its p-value, also corrected for their number.

    Args:
        scores: test mAP in percent by setting and arm, then by seed.
    """
    from scipy.stats import ttest_1samp

    rows = []
    for setting in dict.fromkeys(setting for setting, _ in scores):
        for one, other in COMPARISONS:
            first, second = scores.get((setting, one), {}), scores.get((setting, other), {})
            differences = [first[seed] - second[seed] for seed in SEEDS if seed in first and seed in second]
            if len(differences) > 1:
                p_value = float(ttest_1samp(differences, 0.0).pvalue)
                rows.append((p_value, setting, f"{SHOWN[one]} - {SHOWN[other]}", statistics.mean(differences)))
    rows.sort()
    lines = [
        "## All comparisons together",
        "",
        f"The {len(rows)} differences, ordered by their p-value (paired t-test over the seeds). Holm's correction "
        "multiplies the smallest p-value by their number, the next one by one less, and so on.",
        "",
        "| setting | difference | test mAP % | p | p, Holm |",
        "|---|---|---|---|---|",
    ]
    corrected = 0.0
    smallest = 1.0
    for place, (p_value, setting, name, mean) in enumerate(rows):
        # `max`: a corrected p-value is never below that of a smaller one (Holm's step-down rule).
        corrected = min(1.0, max(corrected, p_value * (len(rows) - place)))
        smallest = min(smallest, corrected)
        lines.append(f"| {setting} | {name} | {mean:+.2f} | {p_value:.3f} | {corrected:.2f} |")
    found = "some differences remain" if smallest < 0.05 else "no difference is shown"
    return "\n".join([*lines, "", f"After the correction {found} at the level of 5 %.", ""])


def find_missed(result: dict[str, Any]) -> list[str]:
    """The arms whose search missed a far better learning rate."""
    control: dict[str, float] = result.get("control", {}).get("val", {})
    return [SHOWN[arm] for arm, val in control.items() if val > result["arms"][arm]["val"] + MISSED]


def describe_control(result: dict[str, Any]) -> list[str]:
    """What the arms reach on validation with the best arm's learning rate, and what this means for the comparison."""
    if "control" not in result:
        return ["Control: not run.", ""]
    arms, control = result["arms"], result["control"]
    leader = SHOWN[control["leader"]]
    if not control["val"]:
        return [f"Control: every arm was tuned to one learning rate, {control['lr']:.3g}.", ""]
    shown = [
        f"{SHOWN[arm]} {100 * val:.2f} (as tuned: {100 * arms[arm]['val']:.2f})" for arm, val in control["val"].items()
    ]
    missed = find_missed(result)
    lines = [f"Control, val mAP % with {leader}'s learning rate {control['lr']:.3g}: {', '.join(shown)}.", ""]
    if missed:
        lines += [
            f"**This setting does not compare the objectives**: the search did not find a far better learning rate for "
            f"{', '.join(missed)}. The differences are due to the tuning at least as much.",
            "",
        ]
    return lines


def round_value(value: str) -> str:
    """Three digits of a number."""
    return value if value.isdigit() else f"{float(value):.3g}"
