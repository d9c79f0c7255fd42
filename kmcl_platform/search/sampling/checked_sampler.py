"""A plug-in's sampler, whose values are checked before they are written to the study."""

from collections.abc import Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from kmcl_platform.errors import PluginError
from kmcl_platform.messages import show_value
from kmcl_platform.plugins.faults.code_errors import code_of, place_of
from kmcl_platform.plugins.sampler import Sampler


class CheckedSampler(optuna.samplers.BaseSampler):
    """Calls a sampler of a plug-in. Its errors, and values outside of a range, are errors of one line.

    Optuna writes each value as soon as it is drawn, and checks only whether it is a number.
    """

    def __init__(self, sampler: optuna.samplers.BaseSampler, component: Sampler) -> None:
        self._sampler = sampler
        self._component = component

    def reseed_rng(self) -> None:
        self._sampler.reseed_rng()

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        with code_of(self._component):
            return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        with code_of(self._component):
            found = self._sampler.sample_relative(study, trial, search_space)
        for path in found.keys() & search_space.keys():
            self._check(path, found[path], search_space[path])
        return found

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        with code_of(self._component):
            found = self._sampler.sample_independent(study, trial, param_name, param_distribution)
        self._check(param_name, found, param_distribution)
        return found

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        with code_of(self._component):
            self._sampler.before_trial(study, trial)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        with code_of(self._component):
            self._sampler.after_trial(study, trial, state, values)

    def _check(self, path: str, value: Any, distribution: BaseDistribution) -> None:
        try:
            inside = distribution._contains(distribution.to_internal_repr(value))
        except (TypeError, ValueError):
            # Not a number, or NaN, or none of the choices.
            inside = False
        if not inside:
            raise PluginError(
                f"{place_of(self._component)}: {path}: got {show_value(value)}; valid: {_describe(distribution)}"
            )


def _describe(distribution: BaseDistribution) -> str:
    match distribution:
        case IntDistribution(low=low, high=high):
            return f"a whole number from {low} to {high}"
        case FloatDistribution(low=low, high=high):
            return f"a number from {low:g} to {high:g}"
        case CategoricalDistribution(choices=choices):
            return f"one of {', '.join(map(show_value, choices))}"
    return "a value of the range"
