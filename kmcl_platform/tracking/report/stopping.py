"""Did early stopping pay? What it saved, and whether the order at its rungs was that of the end."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from optuna.trial import FrozenTrial, TrialState
from scipy.stats import kendalltau

from kmcl_platform.messages import count_of
from kmcl_platform.tracking.runs.names import OUTSIDE_SPACE, VERDICTS

FEWEST_TRIALS = 5
"""Trials of full length without which nothing is said about their order."""

_DRAWS = 1000


@dataclass(frozen=True)
class RungOrder:
    """How the order of the trials of full length after an epoch agrees with their order at the end.

    Attributes:
        epoch: of the rung.
        tau: Kendall's τ: 1 for the same order, 0 for unrelated orders.
        low: lower end of its 95 % interval (bootstrap over trials).
        high: its upper end.
    """

    epoch: int
    tau: float
    low: float
    high: float


def describe_stopping(trials: Sequence[FrozenTrial], num_epochs: int) -> list[str]:
    """Sentences for the report; empty: no trial has ended, or none was compared with others.

    Args:
        trials: of the study.
        num_epochs: epochs of a whole trial.
    """
    searched = [trial for trial in trials if OUTSIDE_SPACE not in trial.user_attrs]
    rungs = find_rungs(searched, num_epochs)
    whole = num_epochs * sum(trial.state.is_finished() for trial in searched)
    if not rungs or not whole:
        return []
    stopped = [trial for trial in searched if trial.state == TrialState.PRUNED]
    saved = sum(num_epochs - (trial.last_step or 0) for trial in stopped)
    lines = [
        f"Early stopping ended {count_of(len(stopped), 'trial')} and saved {count_of(saved, 'epoch')} of "
        f"{whole:,} ({saved / whole:.0%})."
    ]
    full = [trial for trial in searched if trial.state == TrialState.COMPLETE and trial.last_step == num_epochs]
    if len(full) < FEWEST_TRIALS:
        lines.append(
            f"{count_of(len(full), 'trial')} of full length cannot show whether the right trials were stopped: that "
            f"needs at least {FEWEST_TRIALS}."
        )
        return lines
    orders = [order_at(full, epoch, num_epochs) for epoch in rungs]
    for one in orders:
        lines.append(
            f"After epoch {one.epoch}, the order of the {len(full)} trials of full length agreed with their order at "
            f"the end with Kendall's τ = {one.tau:.2f} (95 % interval {one.low:.2f} to {one.high:.2f})."
        )
    doubtful = [str(one.epoch) for one in orders if one.low <= 0]
    if doubtful:
        lines.append(
            f"The order after epoch {', '.join(doubtful)} is not shown to say anything about the end: a trial that was "
            "stopped there may have been a good one. Use a later first rung (scheduler.min_epochs)."
        )
    else:
        lines.append("At every rung the order says something about the end.")
    lines.append("Trials that were stopped are not in this comparison: nobody knows how they would have ended.")
    return lines


def find_rungs(trials: Sequence[FrozenTrial], num_epochs: int) -> list[int]:
    """The epochs after which trials were compared, or, of pruners that keep no verdicts, stopped."""
    rungs = {int(epoch) for trial in trials for epoch in trial.user_attrs.get(VERDICTS, {})}
    rungs |= {trial.last_step for trial in trials if trial.state == TrialState.PRUNED and trial.last_step}
    return sorted(epoch for epoch in rungs if epoch < num_epochs)


def order_at(trials: Sequence[FrozenTrial], epoch: int, num_epochs: int) -> RungOrder:
    """Compare the order of trials after an epoch with that at the end; all of them have both values."""
    pairs_N2 = np.array([[trial.intermediate_values[one] for one in (epoch, num_epochs)] for trial in trials])
    rng = np.random.default_rng(0)
    draws = [_tau(pairs_N2[rng.integers(len(pairs_N2), size=len(pairs_N2))]) for _ in range(_DRAWS)]
    low, high = np.percentile(draws, (2.5, 97.5))
    return RungOrder(epoch, _tau(pairs_N2), float(low), float(high))


def _tau(pairs_N2: np.ndarray) -> float:
    tau = float(kendalltau(pairs_N2[:, 0], pairs_N2[:, 1]).statistic)
    # If all values are equal, there is no order.
    return 0.0 if np.isnan(tau) else tau
