"""`Sampler`: the base class of samplers."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from kmcl_platform.plugins.component import Component

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial


class Sampler(Component):
    """How the next point of a search is chosen.

    A sampler of your own has options as fields and the method `build_sampler`, which builds one of Optuna's samplers or
    one that inherits from `optuna.samplers.BaseSampler`.

    Attributes:
        learns_from_stopped: it learns from trials that were stopped early. If not, a search with it needs a scheduler
            that stops no trial.
        learns: its points depend on the values of the trials so far.
        takes_aims: it learns from several objectives, and has the method `build_constrained` for constraints. A sampler
            that does not learn needs neither.
        lists_points: it draws no points: every combination of the space's choices is trained once. Only `grid` does so.
    """

    kind: ClassVar[str] = "sampler"
    package: ClassVar[str] = "samplers"
    learns_from_stopped: ClassVar[bool] = True
    learns: ClassVar[bool] = True
    takes_aims: ClassVar[bool] = False
    lists_points: ClassVar[bool] = False

    startup_trials: int = Field(default=10, ge=0)
    """Random trials before a model-based sampler begins to model; samplers without a model ignore it."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Seed of the points. The same file and seed give the same points."""

    @classmethod
    def find_problem(cls) -> str | None:
        for method, needed in (("build_sampler", True), ("build_constrained", cls.takes_aims)):
            if needed and getattr(cls, method) is getattr(Sampler, method):
                return f"a class without the method `{method}`; valid: a class that has it"
        return None

    def build_sampler(self, seed: int) -> "optuna.samplers.BaseSampler":
        """The sampler that draws one point.

        It is built again for each point, so that a search that was killed continues with the same points. What it has
        to know of earlier points is in the study: their values, and the attributes that a sampler writes into trials.

        Args:
            seed: of this point, below 2³¹. It depends on the option `seed` and on the number of points so far.
        """
        raise NotImplementedError(f"{type(self).__name__} has no method `build_sampler`")

    def build_constrained(
        self, seed: int, constraints: "Callable[[FrozenTrial], Sequence[float]] | None"
    ) -> "optuna.samplers.BaseSampler":
        """As `build_sampler`, for a search with constraints.

        Args:
            seed: as of `build_sampler`.
            constraints: gives for a trial how far it is above each bound; 0 or less: it keeps it. None: there are none.
        """
        raise NotImplementedError(f"{type(self).__name__} has no method `build_constrained`")
