"""`tpe`: the tree-structured Parzen estimator (Bergstra et al., 2011), as Optuna has it."""

import warnings
from typing import TYPE_CHECKING, ClassVar

from kmcl_platform.plugins import Sampler, register

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import optuna
    from optuna.trial import FrozenTrial


@register("tpe")
class Tpe(Sampler):
    """Learns: it models the densities of good and of bad points, and proposes where their ratio is high."""

    takes_aims: ClassVar[bool] = True

    def build_sampler(self, seed: int) -> "optuna.samplers.BaseSampler":
        return self.build_constrained(seed, None)

    def build_constrained(
        self, seed: int, constraints: "Callable[[FrozenTrial], Sequence[float]] | None"
    ) -> "optuna.samplers.BaseSampler":
        import optuna

        with warnings.catch_warnings():
            # `group` treats the conditional parts of a space separately; Optuna still calls it experimental.
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return optuna.samplers.TPESampler(
                seed=seed,
                n_startup_trials=self.startup_trials,
                # Values are modelled together, so that combinations of them count.
                multivariate=True,
                group=True,
                # Trials that run count as bad ones, so that simultaneous trials are not at the same point.
                constant_liar=True,
                constraints_func=constraints,
            )
