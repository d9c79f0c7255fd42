"""`Sampler`: the base class of samplers."""

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from kmcl_platform.plugins.component import Component

if TYPE_CHECKING:
    import optuna


class Sampler(Component):
    """How the next point of a search is chosen.

    A sampler of your own has options as fields and the method `build_sampler`, which builds one of Optuna's samplers or
    one that inherits from `optuna.samplers.BaseSampler`.

    Attributes:
        learns_from_stopped: it learns from trials that were stopped early. If not, a search with it needs a scheduler
            that stops no trial.
        lists_points: it draws no points: every combination of the space's choices is trained once. Only `grid` does so.
    """

    kind: ClassVar[str] = "sampler"
    package: ClassVar[str] = "samplers"
    learns_from_stopped: ClassVar[bool] = True
    lists_points: ClassVar[bool] = False

    startup_trials: int = Field(default=10, ge=0)
    """Random trials before a model-based sampler begins to model; samplers without a model ignore it."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Seed of the points. The same file and seed give the same points."""

    @classmethod
    def find_problem(cls) -> str | None:
        if cls.build_sampler is not Sampler.build_sampler:
            return None
        return "a class without the method `build_sampler`; valid: a class that has it"

    def build_sampler(self, seed: int) -> "optuna.samplers.BaseSampler":
        """The sampler that draws one point.

        It is built again for each point, so that a search that was killed continues with the same points. What it has
        to know of earlier points is in the study: their values, and the attributes that a sampler writes into trials.

        Args:
            seed: of this point, below 2³¹. It depends on the option `seed` and on the number of points so far.
        """
        raise NotImplementedError(f"{type(self).__name__} has no method `build_sampler`")
