"""`random`: independent draws."""

from typing import TYPE_CHECKING

from kmcl_platform.plugins import Sampler, register

if TYPE_CHECKING:
    import optuna


@register("random")
class Random(Sampler):
    """Draws each value by itself. It learns nothing."""

    def build_sampler(self, seed: int) -> "optuna.samplers.BaseSampler":
        import optuna

        return optuna.samplers.RandomSampler(seed=seed)
