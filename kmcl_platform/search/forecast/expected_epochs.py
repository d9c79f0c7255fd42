"""How many trials a search begins and how many epochs they train, if good and bad trials come in random order.

A sampler that learns makes later trials better than earlier ones. More of them then continue than this model expects;
the range of a forecast includes the case that all of them continue.
"""

from kmcl_platform.config.schedulers import Adaptive, Hyperband, Scheduler, SuccessiveHalving


def expected_trials(num_trials: int, patience: int) -> float:
    """The expected number of trials of a search that ends when `patience` trials have ended since the best one.

    In random order, trial k is the best so far with probability 1/k, independently of the trials before it.

    Args:
        num_trials: the largest number of trials.
        patience: trials without a better one after which the search ends, at least 1.
    """
    # p(i): the probability that trial i is a new best and that the search has not ended before it.
    # After such a trial, none of the next e trials is better with probability i / (i + e). So the search ends at trial
    # i + patience with probability p(i) · i / (i + patience), and this end adds p(i) · i to the expected number.
    # An end at `num_trials` adds the same. The expected number is therefore the sum of i · p(i); sums[k] is its part
    # up to k.
    # The first trial is always a new best one: p(1) = 1.
    sums = [0.0, 1.0]
    for place in range(2, num_trials + 1):
        # The best trial before it was one of the last `patience` trials, else the search would have ended.
        since = max(1, place - patience)
        # Trial `place` is a new best one with probability 1/place, and the best before it was i with p(i) · i / (place
        # - 1). So place · p(place) = Σ i · p(i) / (place - 1), over those i.
        sums.append(sums[-1] + (sums[-1] - sums[since - 1]) / (place - 1))
    return sums[num_trials]


def fewest_epochs(scheduler: Scheduler, num_epochs: int, num_trials: float) -> float:
    """Epochs of all trials if every trial but one is stopped at its first rung."""
    if isinstance(scheduler, Adaptive):
        # After the trials of full length, the first rung may be epoch 1.
        whole = min(num_trials, scheduler.min_trials)
        return whole * num_epochs + (num_trials - whole)
    first_rungs = sum(share * rungs[0] for share, rungs in _brackets(scheduler, num_epochs))
    return num_epochs + (num_trials - 1) * first_rungs


def expected_epochs(scheduler: Scheduler, num_epochs: int, num_trials: float) -> float:
    """The expected number of epochs of all trials, if the pruner decides when a trial reaches a rung.

    If m trials have reached a rung, the pruner continues those among the best max(1, floor(m / factor)). The m-th trial
    is among them with probability max(1, floor(m / factor)) / m. The ranks of a trial at two rungs are assumed to be
    independent.
    """
    if isinstance(scheduler, Adaptive):
        # The first rung is not known: half of the epochs, where the order of most searches is that of the end.
        whole = min(num_trials, scheduler.min_trials)
        rungs = SuccessiveHalving(min_epochs=max(1, num_epochs // 2), reduction_factor=scheduler.reduction_factor)
        return whole * num_epochs + expected_epochs(rungs, num_epochs, num_trials - whole)
    factor = scheduler.reduction_factor if isinstance(scheduler, SuccessiveHalving | Hyperband) else 1
    return sum(
        _epochs_of_bracket(num_trials * share, rungs, factor) for share, rungs in _brackets(scheduler, num_epochs)
    )


def _epochs_of_bracket(num_trials: float, rungs: list[int], factor: int) -> float:
    """Epochs of the trials of one bracket; their expected number can be a fraction."""
    whole = int(num_trials)
    # For each trial, the probability that it reaches the rung. The last one can be a fraction of a trial.
    reaching = [1.0] * whole + ([num_trials - whole] if num_trials > whole else [])
    total, before = 0.0, 0
    for rung in rungs:
        total += sum(reaching) * (rung - before)
        before = rung
        arrived, going_on = 0.0, []
        # Trials arrive in order. `arrived` is m, also for the last, partial trial.
        for share in reaching:
            arrived += share
            going_on.append(share * min(1.0, max(1, arrived // factor) / arrived) if share else 0.0)
        reaching = going_on
    return total


def _brackets(scheduler: Scheduler, num_epochs: int) -> list[tuple[float, list[int]]]:
    """Each bracket's share of the trials, and the epochs of its rungs; the last rung is the end of the trial."""
    if not isinstance(scheduler, SuccessiveHalving | Hyperband):
        return [(1.0, [num_epochs])]
    first, factor = scheduler.min_epochs, scheduler.reduction_factor
    if isinstance(scheduler, SuccessiveHalving):
        return [(1.0, _rungs(first, factor, num_epochs))]
    # The same brackets and weights as Optuna's HyperbandPruner: the first rung of bracket b is first · factor^b.
    num_brackets = 1
    while first * factor**num_brackets <= num_epochs:
        num_brackets += 1
    weights = [-(-num_brackets * factor ** (num_brackets - 1 - b) // (num_brackets - b)) for b in range(num_brackets)]
    return [(weight / sum(weights), _rungs(first * factor**b, factor, num_epochs)) for b, weight in enumerate(weights)]


def _rungs(first: int, factor: int, num_epochs: int) -> list[int]:
    rungs = []
    while first < num_epochs:
        rungs.append(first)
        first *= factor
    return [*rungs, num_epochs]
