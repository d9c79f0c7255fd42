"""Optuna's samplers and pruners, by their names in a search file."""

import warnings

import optuna

from kmcl_platform.config.search_file import Hyperband, Sampler, Scheduler, SuccessiveHalving


def build_pruner(scheduler: Scheduler, num_epochs: int) -> optuna.pruners.BasePruner:
    """What decides that a trial is stopped early."""
    match scheduler:
        case SuccessiveHalving(min_epochs=min_epochs, reduction_factor=factor):
            return optuna.pruners.SuccessiveHalvingPruner(min_resource=min_epochs, reduction_factor=factor)
        case Hyperband(min_epochs=min_epochs, reduction_factor=factor):
            return optuna.pruners.HyperbandPruner(
                min_resource=min_epochs, max_resource=num_epochs, reduction_factor=factor
            )
        case _:
            return optuna.pruners.NopPruner()


def build_sampler(sampler: Sampler, seed: int) -> optuna.samplers.BaseSampler:
    """What chooses the next point.

    Args:
        sampler: the file's choice.
        seed: that of this one point.
    """
    match sampler.kind:
        case "tpe":
            with warnings.catch_warnings():
                # `group` models the conditional parts of a space apart; Optuna still calls it experimental.
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                return optuna.samplers.TPESampler(
                    seed=seed,
                    n_startup_trials=sampler.startup_trials,
                    multivariate=True,
                    group=True,
                    constant_liar=True,
                )
        case "gp":
            return optuna.samplers.GPSampler(seed=seed, n_startup_trials=sampler.startup_trials)
        case "qmc":
            # A quasi-random sequence is one sequence: its seed must not change from trial to trial.
            return optuna.samplers.QMCSampler(seed=sampler.seed, scramble=True)
        case "random" | "grid":
            # The points of a grid wait in the study's queue: none is left to be drawn.
            return optuna.samplers.RandomSampler(seed=seed)
