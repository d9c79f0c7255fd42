"""How many trials a search begins, and how many of them are trade-offs, if good and bad trials come in random order.

A sampler that learns makes later trials better than earlier ones. More of them then continue than this model expects;
the range of a forecast includes the case that all of them continue.
"""


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


def expected_front(num_trials: int, num_objectives: int) -> float:
    """The expected number of trade-offs, if a trial that is good in one objective is not better or worse in another.

    If one objective costs another, as accuracy costs time, there are more of them.

    Args:
        num_trials: the number of trials.
        num_objectives: at least 1; with one there is one best trial.
    """
    # Sort the trials by the last objective, the best first. Trial k is a trade-off if it is one among the first k in
    # the other objectives. Each of these k is so with the same probability: their expected number of trade-offs over k.
    # With two objectives the sum is 1 + 1/2 + 1/3 and so on.
    fronts = [1.0] * num_trials
    for _ in range(num_objectives - 1):
        total, sums = 0.0, []
        for rank, front in enumerate(fronts, start=1):
            total += front / rank
            sums.append(total)
        fronts = sums
    return fronts[-1] if fronts else 0.0
