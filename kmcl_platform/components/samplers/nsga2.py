"""`nsga2`: a genetic algorithm for several objectives (Deb et al., 2002), as Optuna has it."""

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from kmcl_platform.plugins import Sampler, register

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import optuna
    from optuna.trial import FrozenTrial


@register("nsga2")
class Nsga2(Sampler):
    """Learns: the best points of a generation are mixed for the next one. It needs a few hundred trials."""

    learns_from_stopped: ClassVar[bool] = False
    takes_aims: ClassVar[bool] = True

    population: int = Field(default=20, ge=2, le=1000)
    """Points of a generation; the first generation is random."""

    def build_sampler(self, seed: int) -> "optuna.samplers.BaseSampler":
        return self.build_constrained(seed, None)

    def build_constrained(
        self, seed: int, constraints: "Callable[[FrozenTrial], Sequence[float]] | None"
    ) -> "optuna.samplers.BaseSampler":
        import optuna

        return optuna.samplers.NSGAIISampler(population_size=self.population, seed=seed, constraints_func=constraints)
