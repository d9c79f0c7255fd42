"""The verdict on a file's arms: paired differences of their retrained best trials, tested with Holm's correction."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from kmcl_platform.config.store import Store
from kmcl_platform.tracking.database import connect
from kmcl_platform.tracking.runs.leaderboard import Leaderboard, read_leaderboard
from kmcl_platform.tracking.runs.names import BASELINE_VERDICT_TAG, VERDICT_FILE, VERDICT_TAG, TrialOutcome
from kmcl_platform.tracking.runs.ownership import check_own

ALPHA = 0.05
"""Probability at most that any arm of a file is called better or worse although none differs from the first one."""
_SEED = "seed"
"""The path that a verdict's searches vary."""


@dataclass(frozen=True)
class Comparison:
    """One arm compared with the first arm of the file, over the seeds that both finished.

    Attributes:
        arm: the compared arm.
        reference: the first arm.
        metric: the objective of both.
        sign: 1 if larger values are better, -1 if smaller ones are.
        num_seeds: pairs of trainings.
        mean: mean of arm minus reference. None: no pair.
        p_value: two-sided p-value of the paired t-test, without correction. None: fewer than two pairs.
        num_comparisons: tested comparisons of the file, among which this one is.
        adjusted_p_value: p-value after Holm's correction; a difference is shown if it is at most `ALPHA`.
        confidence: confidence level of the interval, 1 - `ALPHA` / m, where m is the divisor of Holm's step for this
            comparison. The interval excludes 0 exactly if a difference is shown.
        low: lower end of the interval of the mean. None: fewer than two pairs.
        high: its upper end.
    """

    arm: str
    reference: str
    metric: str
    sign: int
    num_seeds: int
    mean: float | None
    p_value: float | None = None
    num_comparisons: int = 0
    adjusted_p_value: float | None = None
    confidence: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def better(self) -> str | None:
        """Name of the arm that is shown to be better. None: no difference is shown."""
        if self.mean is None or self.adjusted_p_value is None or self.adjusted_p_value > ALPHA:
            return None
        return self.arm if self.sign * self.mean > 0 else self.reference

    def __str__(self) -> str:
        named = f"{self.arm} compared with {self.reference}"
        if self.mean is None or self.adjusted_p_value is None or self.confidence is None:
            return f"{named}: no verdict from {self.num_seeds} seeds that both finished; valid: 2 or more"
        interval = f"{100 * self.confidence:.4g} % interval [{self.low:+.4f}, {self.high:+.4f}]"
        count = self.num_comparisons
        correction = f" after Holm's correction for {count} comparisons" if count > 1 else ""
        p_value = f"p = {self.adjusted_p_value:.2g}" if self.adjusted_p_value >= 1e-4 else "p < 0.0001"
        found = f"{self.metric} {self.mean:+.4f}, {interval}, {p_value}{correction}, {self.num_seeds} seeds"
        if self.better is None:
            return f"{named}: no difference shown ({found})"
        word = "better" if self.better == self.arm else "worse"
        return f"{named}: {word} ({found})"


def compare_arms(scores: Mapping[str, Mapping[int, float]], *, metric: str, sign: int) -> list[Comparison]:
    """Compare every arm with the first one.

    Each comparison is a paired t-test over the seeds that both arms finished. It covers the chance in a training
    (initial weights, order of images, augmentation); the data and the tuned values are taken as they are.

    With many arms, some difference would look real by chance alone: of nine tests at the 5 % level, one or more is
    significant in about a third of all files. Holm's correction (Holm 1979, A simple sequentially rejective multiple
    test procedure) keeps that probability at 5 % for all arms of a file together: the i-th smallest of m p-values, from
    i = 0, is compared with 5 % / (m - i), until the first one that is larger.

    Args:
        scores: for each arm, in the order of the file, the objective by seed.
        metric: the objective.
        sign: 1 if larger values are better, -1 if smaller ones are.

    Returns:
        A comparison for each arm but the first, in the order of the file.
    """
    reference, *arms = scores
    # Pairs of equal seeds only. Sorting fixes the order of the sums, so repeated calls give the same last digit.
    differences = {
        arm: [scores[arm][seed] - scores[reference][seed] for seed in sorted(scores[arm].keys() & scores[reference])]
        for arm in arms
    }
    found = {
        arm: Comparison(
            arm,
            reference,
            metric,
            sign,
            num_seeds=len(own),
            mean=statistics.fmean(own) if own else None,
            p_value=_p_value(own) if len(own) >= 2 else None,
        )
        for arm, own in differences.items()
    }
    return [_with_interval(one, differences[one.arm]) for one in _correct(list(found.values()))]


def compare_retrained(store: Store, retrained: Mapping[str, str]) -> list[Comparison]:
    """Compare the arms of a file by their retrained best trials.

    Args:
        store: where the searches are.
        retrained: for each arm, in the order of the file, the search that trained its best trial again.

    Raises:
        SearchError: such a search is not in the store.
    """
    boards = {arm: read_leaderboard(store, search) for arm, search in retrained.items()}
    # All arms of a file have its objective, so that of the first search is that of all.
    first = next(iter(boards.values()))
    scores = {arm: seed_values(board) for arm, board in boards.items()}
    return compare_arms(scores, metric=first.metric, sign=1 if first.mode == "maximize" else -1)


def seed_values(board: Leaderboard) -> dict[int, float]:
    """The values of the completed trainings, by seed, in a search that trained one trial again on new seeds."""
    return {
        int(row.values[_SEED]): row.objective
        for row in board.rows
        if row.outcome == TrialOutcome.COMPLETED and row.objective is not None
    }


def record_verdict(
    store: Store, searches: Sequence[str], comparisons: Sequence[Comparison], *, of_baselines: bool = False
) -> None:
    """Write the verdict to the run of each arm's search: a tag for readers, a file for programs.

    `of_baselines`: it compares the best trial of the only search with its best baseline.

    Raises:
        SearchError: such a search is not in the store, or belongs to another one.
    """
    client = connect(store)
    documents = [asdict(one) | {"better": one.better} for one in comparisons]
    document = {"alpha": ALPHA, "correction": "holm", "comparisons": documents}
    text = json.dumps(document, indent=1, allow_nan=False)
    for search in searches:
        board = read_leaderboard(store, search)
        check_own(store, board.experiment_id)
        run_id = board.parent_id
        client.log_text(run_id, text, VERDICT_FILE)
        for tag in (VERDICT_TAG, *([BASELINE_VERDICT_TAG] if of_baselines else [])):
            client.set_tag(run_id, tag, "\n".join(map(str, comparisons)))


def _p_value(differences: Sequence[float]) -> float:
    from scipy.stats import t

    mean, error = statistics.fmean(differences), _standard_error(differences)
    if error == 0:  # The t statistic is infinite, or 0/0 if the arms gave the same values.
        return 0.0 if mean else 1.0
    # Two-sided: both tails of Student's distribution with n - 1 degrees of freedom.
    return 2 * float(t.sf(abs(mean / error), len(differences) - 1))


def _correct(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Holm's adjusted p-values and levels, in the order of the arguments."""
    p_values = {one.arm: one.p_value for one in comparisons if one.p_value is not None}
    count, adjusted, divisor = len(p_values), 0.0, len(p_values)
    corrected: dict[str, tuple[float, float]] = {}
    for place, (arm, p_value) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        # After the first comparison that shows nothing, all others show nothing either: they stay at its level.
        if adjusted <= ALPHA:
            divisor = count - place
        # Holm's adjusted p-value: p · (m - i), at most 1, and never below that of a smaller p-value.
        adjusted = max(adjusted, min(1.0, p_value * (count - place)))
        corrected[arm] = adjusted, 1 - ALPHA / divisor
    return [
        replace(one, num_comparisons=count, adjusted_p_value=corrected[one.arm][0], confidence=corrected[one.arm][1])
        if one.arm in corrected
        else one
        for one in comparisons
    ]


def _with_interval(comparison: Comparison, differences: Sequence[float]) -> Comparison:
    """Student's t-interval of the mean, at the level of Holm's step."""
    from scipy.stats import t

    if comparison.mean is None or comparison.confidence is None:
        return comparison
    # mean ± t · s/√n, where t leaves (1 - confidence) / 2 in each tail. So the interval excludes 0 exactly where the
    # two-sided p-value is below 1 - confidence, Holm's level for this step.
    quantile = float(t.ppf((1 + comparison.confidence) / 2, len(differences) - 1))
    half = quantile * _standard_error(differences)
    return replace(comparison, low=comparison.mean - half, high=comparison.mean + half)


def _standard_error(differences: Sequence[float]) -> float:
    # s/√n, where s² divides by n - 1.
    return statistics.stdev(differences) / len(differences) ** 0.5
