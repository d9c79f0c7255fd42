"""What the report says about the points that came from the prior."""

from collections.abc import Sequence

from optuna.trial import FrozenTrial, TrialState

from kmcl_platform.config.reports.trial_marks import FROM_PRIOR, OUTSIDE_SPACE
from kmcl_platform.messages import count_of


def describe_prior(trials: Sequence[FrozenTrial], sign: int) -> list[str]:
    """A sentence that helps to decide whether to keep the prior; empty: no point came from one.

    Args:
        trials: of the study.
        sign: 1: larger values are better; -1: smaller ones.
    """
    searched = [trial for trial in trials if OUTSIDE_SPACE not in trial.user_attrs]
    own = [trial for trial in searched if FROM_PRIOR in trial.user_attrs]
    if not own:
        return []
    numbers = ", ".join(str(trial.number) for trial in own[:12]) + (", …" if len(own) > 12 else "")
    line = f"{count_of(len(own), 'point')} of {len(searched)} came from the prior (trials {numbers})"
    groups = [
        [sign * trial.value for trial in group if trial.state == TrialState.COMPLETE and trial.value is not None]
        for group in (own, [trial for trial in searched if FROM_PRIOR not in trial.user_attrs])
    ]
    if all(groups):
        wins = sum((one > other) + 0.5 * (one == other) for one in groups[0] for other in groups[1])
        share = wins / (len(groups[0]) * len(groups[1]))
        line += f". Of those of full length, they are better than the others in {share:.0%} of all pairs"
    return [f"{line}."]
