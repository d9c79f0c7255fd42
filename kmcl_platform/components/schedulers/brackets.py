"""The rungs of successive halving, and how many epochs its trials train, if good and bad ones come in random order."""


def ladder(first: int, factor: int, num_epochs: int) -> list[int]:
    """The epochs first, first·factor, ..., below `num_epochs`.

    >>> ladder(1, 2, 20)
    [1, 2, 4, 8, 16]
    """
    rungs = []
    while first < num_epochs:
        rungs.append(first)
        first *= factor
    return rungs


def epochs_of_bracket(num_trials: float, first: int, factor: int, num_epochs: int) -> float:
    """The expected number of epochs of all trials, if the pruner decides when a trial reaches a rung.

    If m trials have reached a rung, the pruner continues those among the best max(1, floor(m / factor)). The m-th trial
    is among them with probability max(1, floor(m / factor)) / m. The ranks of a trial at two rungs are assumed to be
    independent.

    Args:
        num_trials: their expected number, which can be a fraction.
        first: the first rung.
        factor: reduction factor.
        num_epochs: epochs of a whole trial.
    """
    whole = int(num_trials)
    # For each trial, the probability that it reaches the rung. The last one can be a fraction of a trial.
    reaching = [1.0] * whole + ([num_trials - whole] if num_trials > whole else [])
    total, before = 0.0, 0
    for rung in [*ladder(first, factor, num_epochs), num_epochs]:
        total += sum(reaching) * (rung - before)
        before = rung
        arrived, going_on = 0.0, []
        # Trials arrive in order. `arrived` is m, also for the last, partial trial.
        for share in reaching:
            arrived += share
            going_on.append(share * min(1.0, max(1, arrived // factor) / arrived) if share else 0.0)
        reaching = going_on
    return total
