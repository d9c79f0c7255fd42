"""`random`: independent draws."""

from typing import TYPE_CHECKING, ClassVar

from kmcl_platform.plugins import Sampler, register

if TYPE_CHECKING:
    import optuna


@register("random")
class Random(Sampler):
    """Draws each value by itself. It learns nothing."""

    learns: ClassVar[bool] = False

    def build_sampler(self, seed: int) -> "optuna.samplers.BaseSampler":
        import optuna

        return optuna.samplers.RandomSampler(seed=seed)
