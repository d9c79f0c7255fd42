"""`qmc`: a quasi-random sequence, which fills the space more evenly than random draws."""

import warnings
from typing import TYPE_CHECKING, ClassVar

from kmcl_platform.plugins import Sampler, register

if TYPE_CHECKING:
    import optuna


@register("qmc")
class QuasiMonteCarlo(Sampler):
    """A scrambled Sobol' sequence, which fills the space evenly. It learns nothing."""

    learns: ClassVar[bool] = False

    def build_sampler(self, seed: int) -> "optuna.samplers.BaseSampler":
        import optuna

        with warnings.catch_warnings():
            # Optuna still calls it experimental, once for each search of a replay.
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            # A quasi-random sequence is one sequence: its seed must not change from trial to trial.
            return optuna.samplers.QMCSampler(seed=self.seed, scramble=True)
