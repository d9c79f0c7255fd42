"""From a search file's space to one point of it."""

import copy
import itertools
from collections.abc import Iterator, Mapping

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial

from kmcl_platform.config.first_trials import active_paths
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.space.distributions import Choice, Distribution, Int, LogUniform, Uniform
from kmcl_platform.config.trial_config import Scalar


def suggest_values(trial: optuna.Trial, file: SearchFile) -> dict[str, Scalar]:
    """Ask the study for a value of every path whose condition holds.

    Paths come in the file's order; a condition names earlier paths only, which the reader of the file checks.
    """
    values: dict[str, Scalar] = {}
    base = file.base.flat()
    for path, distribution in file.space.items():
        # A condition may name a path that is not searched in this trial; it then has the base's value.
        known = base | values
        if all(known[condition] == wanted for condition, wanted in distribution.when.items()):
            values[path] = _suggest(trial, path, distribution)
    return values


def to_params(values: Mapping[str, Scalar], file: SearchFile) -> dict[str, Scalar]:
    """The parameters of Optuna that stand for a trial's values; they differ where a range has `zero`."""
    return {
        path: space.to_place(float(value)) if isinstance(space := file.space[path], LogUniform) else value  # type: ignore[arg-type]
        for path, value in values.items()
    }


def as_point(trial: FrozenTrial, values: Mapping[str, Scalar] | None, file: SearchFile) -> FrozenTrial | None:
    """A trial that was drawn from a former space, as a point of the file's space; None: it lies outside.

    Args:
        trial: of the study. It is not changed.
        values: of the trial, at the paths of its own space. None: it is not complete, and seen as it is.
        file: the search as it is today. At a path that was not searched before, the trial has the base's value.
    """
    if values is None:
        return trial
    known = file.base.flat() | dict(values)
    paths = active_paths(file, dict(values))
    if not all(file.space[path].contains(known[path]) for path in paths):
        return None
    seen = copy.copy(trial)
    seen.params = to_params({path: known[path] for path in paths}, file)
    seen.distributions = {path: _distribution(file.space[path]) for path in paths}
    return seen


def _distribution(distribution: Distribution) -> BaseDistribution:
    """Optuna's distribution, which `_suggest` asks for."""
    match distribution:
        case Uniform(low=low, high=high):
            return FloatDistribution(low, high)
        case LogUniform():
            return FloatDistribution(distribution.axis_low, distribution.high, log=True)
        case Int(low=low, high=high, log=log):
            return IntDistribution(low, high, log=log)
        case Choice(choices=choices):
            return CategoricalDistribution(choices)


def grid(space: Mapping[str, Distribution]) -> Iterator[dict[str, Scalar]]:
    """Every combination of a space's choices, the last path changing fastest."""
    # Every path is a choice without conditions: the check of the search file refuses all others.
    choices = [choice.choices for choice in space.values() if isinstance(choice, Choice)]
    for values in itertools.product(*choices):
        yield dict(zip(space, values, strict=True))


def _suggest(trial: optuna.Trial, path: str, distribution: Distribution) -> Scalar:
    match distribution:
        case Uniform(low=low, high=high):
            return trial.suggest_float(path, low, high)
        case LogUniform():
            place = trial.suggest_float(path, distribution.axis_low, distribution.high, log=True)
            return distribution.to_value(place)
        case Int(low=low, high=high, log=log):
            return trial.suggest_int(path, low, high, log=log)
        case Choice(choices=choices):
            return trial.suggest_categorical(path, choices)
