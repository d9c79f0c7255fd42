"""`gp`: Bayesian optimisation with a Gaussian process, as Optuna has it."""

from typing import TYPE_CHECKING, ClassVar

from kmcl_platform.plugins import Sampler, register

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import optuna
    from optuna.trial import FrozenTrial


@register("gp")
class GaussianProcess(Sampler):
    """Learns: it models the objective by a Gaussian process, and proposes where the expected improvement is largest."""

    learns_from_stopped: ClassVar[bool] = False
    takes_aims: ClassVar[bool] = True

    def build_sampler(self, seed: int) -> "optuna.samplers.BaseSampler":
        return self.build_constrained(seed, None)

    def build_constrained(
        self, seed: int, constraints: "Callable[[FrozenTrial], Sequence[float]] | None"
    ) -> "optuna.samplers.BaseSampler":
        import optuna

        return optuna.samplers.GPSampler(seed=seed, n_startup_trials=self.startup_trials, constraints_func=constraints)
