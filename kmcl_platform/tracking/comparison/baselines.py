"""The best trial of a search compared with its best baseline: the result of a search in one line."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kmcl_platform.tracking.runs.names import TrialOutcome

if TYPE_CHECKING:
    from kmcl_platform.tracking.runs.leaderboard import Leaderboard

WITHOUT_VALUE = (TrialOutcome.FAILED, TrialOutcome.DIVERGED)
"""How a trial ends that has no value, and never gets one."""


@dataclass(frozen=True)
class Contender:
    """One trial that trained to its last epoch.

    Attributes:
        number: the trial's number.
        baseline: the baseline's name; empty: the search drew this trial.
        objective: its value.
        kernel_terms: whether its loss has a kernel term, the reconstruction or the contrastive one.
    """

    number: int
    baseline: str
    objective: float
    kernel_terms: bool


@dataclass(frozen=True)
class BaselineComparison:
    """The best trial that a search drew, and the best of its baselines.

    Attributes:
        metric: the objective.
        sign: 1 if larger values are better, -1 if smaller ones are.
        kmcl: whether `best` is the best trial with a kernel term. Else the search has no such trials.
        best: None: no such trial trained to its last epoch.
        baseline: the best baseline.
        seeds: how the two compare on several new seeds; empty: they were not trained again.
        failed: the baselines that failed or diverged.
    """

    metric: str
    sign: int
    kmcl: bool
    best: Contender | None
    baseline: Contender
    seeds: str
    failed: tuple[str, ...] = ()

    @property
    def difference(self) -> float | None:
        """Best trial minus best baseline. None: there is no best trial."""
        return None if self.best is None else self.best.objective - self.baseline.objective

    def __str__(self) -> str:
        kind = "KMCL trial" if self.kmcl else "trial apart from the baselines"
        baseline = f"best baseline: {self.baseline.baseline} (trial {self.baseline.number})"
        failed = f"; without a value: {', '.join(self.failed)}" if self.failed else ""
        if self.best is None or self.difference is None:
            value = f"{self.metric} {self.baseline.objective:.4f}"
            kind = "KMCL trial apart from the baselines" if self.kmcl else kind
            return f"no {kind} has all epochs; {baseline}, {value}{failed}"
        gain = self.sign * self.difference
        word = "better" if gain > 0 else "worse" if gain < 0 else "equal"
        noise = "one seed: whether this is more than noise between seeds is not known"
        if self.seeds:
            noise = f"that is with the search's own seed; with new seeds: {self.seeds}"
        return (
            f"best {kind}: {self.best.number}, {self.metric} {self.best.objective:.4f}; "
            f"{baseline}, {self.baseline.objective:.4f}{failed}; difference {self.difference:+.4f}, {word}; {noise}"
        )


def compare_baselines(
    contenders: Iterable[Contender],
    *,
    metric: str,
    sign: int,
    kmcl: bool,
    verdict: str = "",
    failed: Iterable[str] = (),
) -> BaselineComparison | None:
    """Find the best trial and the best baseline; None: no baseline trained to its last epoch.

    Args:
        contenders: the trials that trained to their last epoch, the best first. Of equals the first one counts.
        metric: the objective.
        sign: 1 if larger values are better, -1 if smaller ones are.
        kmcl: whether only trials with a kernel term can be the best one. A trial that has left out both terms is the
            plain asymmetric loss.
        verdict: the comparison on several seeds, as `compare_retrained` words it. It is left out if it is about other
            trials: the search may have continued after it.
        failed: names of the baselines that failed or diverged.
    """
    best = baseline = None
    for one in contenders:
        if one.baseline:
            baseline = baseline or one
        elif one.kernel_terms or not kmcl:
            best = best or one
        if best and baseline:
            break
    if baseline is None:
        return None
    pair = f"{retrained_label(best)} compared with {retrained_label(baseline)}:" if best else ""
    seeds = verdict if pair and verdict.startswith(pair) else ""
    return BaselineComparison(metric, sign, kmcl, best, baseline, seeds, tuple(failed))


def compare_leaderboard(board: "Leaderboard") -> BaselineComparison | None:
    """The best trial of a leaderboard compared with its best baseline; None: no baseline trained to its last epoch."""
    return compare_baselines(
        (
            Contender(row.number, row.baseline_name, row.objective, row.kernel_terms)
            for row in board.rows
            if row.rank is not None and row.objective is not None
        ),
        metric=board.metric,
        sign=1 if board.mode == "maximize" else -1,
        kmcl=any(row.kernel_terms for row in board.rows),
        verdict=board.baseline_verdict,
        failed=[row.baseline_name for row in board.rows if row.baseline_name and row.outcome in WITHOUT_VALUE],
    )


def retrained_label(one: Contender) -> str:
    """How the comparison on several seeds names a contender."""
    return trial_label(one.number, one.baseline)


def trial_label(number: int, baseline: str) -> str:
    """The name of a trial that is trained again: that of the baseline that it is, or its number."""
    return baseline or f"trial {number}"
