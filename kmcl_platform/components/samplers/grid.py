"""`grid`: every combination of the space's choices, once."""

from typing import TYPE_CHECKING, ClassVar

from kmcl_platform.plugins import Sampler, register

if TYPE_CHECKING:
    import optuna


@register("grid")
class Grid(Sampler):
    """Every combination of the space's choices, once. They are queued when the search begins."""

    lists_points: ClassVar[bool] = True
    learns: ClassVar[bool] = False

    def build_sampler(self, seed: int) -> "optuna.samplers.BaseSampler":
        import optuna

        # Optuna takes the queued points first; this sampler is asked for none.
        return optuna.samplers.RandomSampler(seed=seed)
