"""Optuna's samplers, by their names in a search file."""

import warnings

import optuna

from kmcl_platform.config.search_file import Sampler


def build_sampler(sampler: Sampler, seed: int) -> optuna.samplers.BaseSampler:
    """The rule that chooses the next point.

    Args:
        sampler: the choice of the search file.
        seed: the seed of this one point.
    """
    match sampler.kind:
        case "tpe":
            with warnings.catch_warnings():
                # `group` treats the conditional parts of a space separately; Optuna still calls it experimental.
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                return optuna.samplers.TPESampler(
                    seed=seed,
                    n_startup_trials=sampler.startup_trials,
                    # Values are modelled together, so that combinations of them count.
                    multivariate=True,
                    group=True,
                    # Trials that run count as bad ones, so that simultaneous trials are not at the same point.
                    constant_liar=True,
                )
        case "gp":
            return optuna.samplers.GPSampler(seed=seed, n_startup_trials=sampler.startup_trials)
        case "qmc":
            # A quasi-random sequence is one sequence: its seed must not change from trial to trial.
            return optuna.samplers.QMCSampler(seed=sampler.seed, scramble=True)
        case "random" | "grid":
            # The points of a grid are in the study's queue, so that a grid draws no point at random.
            return optuna.samplers.RandomSampler(seed=seed)
