"""Points near the values that the user expects to be good, the `prior` of a search file, and how many there are."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from kmcl_platform.config.reports.trial_marks import FROM_PRIOR
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.space.distributions import LogUniform
from kmcl_platform.seeds import derive_seed

_FIRST_SHARE = 0.5
_HALF_LIFE = 12
"""Points of the search after which the share of the prior is half as large, if its points are as good as the others."""


class PriorSampler(optuna.samplers.BaseSampler):
    """Draws every value near its centre. The draw of a path depends on nothing but the seed and the path."""

    def __init__(self, file: SearchFile, seed: int) -> None:
        assert file.prior is not None
        self._file, self._prior, self._seed = file, file.prior, seed
        self._base = file.base.flat()

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        rng = np.random.default_rng(derive_seed(self._seed, "prior", param_name))
        center = self._prior.center_of(param_name, self._base, trial.params)
        confidence = self._prior.confidence_of(param_name)
        if isinstance(param_distribution, CategoricalDistribution):
            choices = param_distribution.choices
            return center if rng.random() < confidence else choices[int(rng.integers(len(choices)))]
        assert isinstance(param_distribution, FloatDistribution | IntDistribution)
        space = self._file.space[param_name]
        place = space.to_place(float(center)) if isinstance(space, LogUniform) else float(center)  # type: ignore[arg-type]
        return _draw_near(place, (1 - confidence) / 2, param_distribution, rng)


def _draw_near(
    center: float, deviation: float, distribution: FloatDistribution | IntDistribution, rng: np.random.Generator
) -> float | int:
    """A normal draw around a value, repeated until it is in the range; the deviation is a share of the range."""
    whole = isinstance(distribution, IntDistribution)
    # Each whole number has a part of the axis of its own.
    low, high = (distribution.low - 0.5 * whole, distribution.high + 0.5 * whole)
    to_axis = math.log if distribution.log else float
    start, length = to_axis(low), to_axis(high) - to_axis(low)
    # A converted weight may lie outside the range.
    middle = (to_axis(min(max(center, distribution.low), distribution.high)) - start) / length
    while not 0 <= (place := rng.normal(middle, deviation)) <= 1:
        pass
    value = start + place * length
    value = math.exp(value) if distribution.log else value
    value = min(max(round(value) if whole else value, distribution.low), distribution.high)
    return int(value) if whole else float(value)


def draws_from_prior(file: SearchFile, trials: Sequence[FrozenTrial], seed: int) -> bool:
    """Whether the next point comes from the prior.

    Args:
        file: the search.
        trials: its points so far, without baselines outside the space.
        seed: of this point.
    """
    if file.prior is None:
        return False
    share = _FIRST_SHARE * 2 ** (-len(trials) / _HALF_LIFE) * 2 * trust(trials, file.objective.sign)
    return bool(np.random.default_rng(derive_seed(seed, "source")).random() < share)


def trust(trials: Sequence[FrozenTrial], sign: int) -> float:
    """How probable it is that a point of the prior is better than another one, from 0 to 1; 0.5 without evidence.

    Trials that were stopped early are worse than those of full length, and equal to one another.
    """
    groups: dict[bool, list[float]] = {True: [], False: []}
    for trial in trials:
        if trial.state == TrialState.COMPLETE and trial.value is not None:
            groups[FROM_PRIOR in trial.user_attrs].append(sign * trial.value)
        elif trial.state == TrialState.PRUNED:
            groups[FROM_PRIOR in trial.user_attrs].append(-math.inf)
    own, others = groups[True], groups[False]
    pairs = len(own) * len(others)
    wins = sum((one > other) + 0.5 * (one == other) for one in own for other in others)
    # As if one more point of each kind had come out equal.
    weight = min(len(own), len(others))
    return 0.5 if not pairs else (weight * wins / pairs + 0.5) / (weight + 1)
