"""Did early stopping pay? What it saved, and whether the order at its rungs was that of the end."""

from collections.abc import Sequence

from optuna.trial import FrozenTrial, TrialState

from kmcl_platform.config.reports.trial_marks import AIMS, OUTSIDE_SPACE, VERDICTS
from kmcl_platform.messages import count_of
from kmcl_platform.rank_agreement import FEWEST, rank_agreement

SURE = 8
"""Trials of full length whose order is the same by chance less than once in a thousand times."""


def describe_stopping(trials: Sequence[FrozenTrial], num_epochs: int) -> list[str]:
    """Sentences for the report; empty: no trial has ended, or none was compared with others.

    Args:
        trials: of the study.
        num_epochs: epochs of a whole trial.
    """
    # A trial whose model broke a constraint has no epoch: there was nothing to save by stopping it early.
    refused = [trial for trial in trials if _is_refused(trial)]
    searched = [trial for trial in trials if OUTSIDE_SPACE not in trial.user_attrs and trial not in refused]
    rungs = find_rungs(searched, num_epochs)
    outside = sum(OUTSIDE_SPACE in trial.user_attrs for trial in trials)
    whole = num_epochs * sum(trial.state.is_finished() for trial in searched)
    if not rungs or not whole:
        return []
    stopped = [trial for trial in searched if trial.state == TrialState.PRUNED]
    saved = sum(num_epochs - (trial.last_step or 0) for trial in stopped)
    lines = [
        f"Early stopping ended {count_of(len(stopped), 'trial')} and saved {count_of(saved, 'epoch')} of "
        f"{whole:,} ({saved / whole:.0%})"
        + (f"; baselines outside the space ({outside}) are not counted here." if outside else ".")
    ]
    if refused:
        lines.append(f"{count_of(len(refused), 'further trial')} broke a constraint and trained no epoch.")
    full = [trial for trial in searched if trial.state == TrialState.COMPLETE and trial.last_step == num_epochs]
    if len(full) < FEWEST:
        lines.append(
            f"{count_of(len(full), 'trial')} of full length cannot show whether the right trials were stopped: that "
            f"needs at least {FEWEST}."
        )
        return lines
    doubtful = []
    ends = [trial.intermediate_values[num_epochs] for trial in full]
    for epoch in rungs:
        found = rank_agreement([trial.intermediate_values[epoch] for trial in full], ends)
        lines.append(
            f"After epoch {epoch}, the order of the {len(full)} trials of full length agreed with their order at the "
            f"end with Kendall's τ = {found.tau:.2f} "
            + (
                f"(95 % interval {found.low:.2f} to {found.high:.2f})."
                if found.low < found.tau
                else "(the same order, which so few trials may have by chance)."
                if len(full) < SURE
                else "(the same order)."
            )
        )
        if found.low <= 0:
            doubtful.append(str(epoch))
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


def _is_refused(trial: FrozenTrial) -> bool:
    return trial.state == TrialState.PRUNED and trial.last_step is None and AIMS in trial.user_attrs
