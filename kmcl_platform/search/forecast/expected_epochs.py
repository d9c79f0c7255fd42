"""How many trials a search begins and how many epochs they train, where trials come in random order of merit.

A sampler that learns lets later trials come nearer to the best, so that more of them go on than is said here; the range
of a forecast allows for all of them.
"""

from kmcl_platform.config.search_file import Hyperband, Scheduler, SuccessiveHalving


def expected_trials(num_trials: int, patience: int) -> float:
    """Trials that are begun if the search ends once `patience` of them have ended since the best one.

    The trial of place k is the best so far with probability 1/k, whatever came before it.
    """
    # sums[k]: over the places i up to k, i times the probability that place i sets a new best in a search that has not
    # ended. From such a place the search goes on for e trials with probability i / (i + e): to whatever end it comes,
    # the product of that end's probability and its place is i, so that the sum over all places is what is sought.
    sums = [0.0, 1.0]
    for place in range(2, num_trials + 1):
        # The best before it stood at one of the `patience` places before, and none came between.
        since = max(1, place - patience)
        sums.append(sums[-1] + (sums[-1] - sums[since - 1]) / (place - 1))
    return sums[num_trials]


def fewest_epochs(scheduler: Scheduler, num_epochs: int, num_trials: float) -> float:
    """Epochs if every trial but one is stopped as early as the scheduler may."""
    first_rungs = sum(share * rungs[0] for share, rungs in _brackets(scheduler, num_epochs))
    return num_epochs + (num_trials - 1) * first_rungs


def expected_epochs(scheduler: Scheduler, num_epochs: int, num_trials: float) -> float:
    """Epochs of all trials together, each decided upon when it reaches a rung.

    The pruner lets a trial go on that is among the best max(1, floor(m / factor)) of the m that have reached the rung,
    which happens to the m-th with probability max(1, floor(m / factor)) / m. Merit at one rung is taken to say nothing
    of merit at the next.
    """
    factor = scheduler.reduction_factor if isinstance(scheduler, SuccessiveHalving | Hyperband) else 1
    return sum(
        _epochs_of_bracket(num_trials * share, rungs, factor) for share, rungs in _brackets(scheduler, num_epochs)
    )


def _epochs_of_bracket(num_trials: float, rungs: list[int], factor: int) -> float:
    """Epochs of the trials of one bracket, whose number need not be whole."""
    whole = int(num_trials)
    # How much of the trial of each place reaches the rung: all of it, and the rest of a number that is not whole.
    reaching = [1.0] * whole + ([num_trials - whole] if num_trials > whole else [])
    total, before = 0.0, 0
    for rung in rungs:
        total += sum(reaching) * (rung - before)
        before = rung
        arrived, going_on = 0.0, []
        for share in reaching:
            arrived += share
            going_on.append(share * min(1.0, max(1, arrived // factor) / arrived) if share else 0.0)
        reaching = going_on
    return total


def _brackets(scheduler: Scheduler, num_epochs: int) -> list[tuple[float, list[int]]]:
    """Each bracket's share of the trials, and the epochs at which it decides; the last epoch ends every trial."""
    if not isinstance(scheduler, SuccessiveHalving | Hyperband):
        return [(1.0, [num_epochs])]
    first, factor = scheduler.min_epochs, scheduler.reduction_factor
    if isinstance(scheduler, SuccessiveHalving):
        return [(1.0, _rungs(first, factor, num_epochs))]
    # As Optuna's HyperbandPruner: bracket b begins to decide at first·factor^b.
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
