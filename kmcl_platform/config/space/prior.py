"""Prior: where the user expects good values. A part of the points is drawn there, as long as they do well."""

from collections.abc import Mapping

from pydantic import Field

from kmcl_platform.config.base import Frozen
from kmcl_platform.config.trial_config import FileScalar, Scalar

_KERNEL_WEIGHTS = ("loss.reconstruction_weight", "loss.contrastive_weight")


class Belief(Frozen):
    """Where good values of one path are expected."""

    center: FileScalar | None = None
    """The most probable value. None: the base's."""
    confidence: float | None = Field(default=None, gt=0, lt=1)
    """None: that of the whole prior."""


class Prior(Frozen):
    """Expected good values of the searched paths, by default those of the base.

    A point of the prior has each value near its centre: normally distributed over the range (over its logarithm where
    the logarithm is searched), with a standard deviation of (1 - confidence) / 2 of the range. A choice has its centre
    with a probability of `confidence`, and otherwise any of its values.
    """

    confidence: float = Field(default=0.8, gt=0, lt=1)
    """Of the paths that do not give their own."""
    paths: dict[str, Belief] = Field(default_factory=dict)
    """The paths with a centre or a confidence of their own."""

    def confidence_of(self, path: str) -> float:
        """The confidence in the centre of one path, in (0, 1)."""
        own = self.paths[path].confidence if path in self.paths else None
        return self.confidence if own is None else own

    def center_of(self, path: str, base: Mapping[str, Scalar], drawn: Mapping[str, Scalar]) -> Scalar:
        """The centre of one path in a trial.

        A weight of a kernel term is converted if the trial has the other formulation: `released` sums the
        classification over the batch, so that a weight w there means the same as w / batch size in `corrected`.

        Args:
            path: of a searched value.
            base: the base's values.
            drawn: values that the trial has already.
        """
        own = self.paths[path].center if path in self.paths else None
        center = base[path] if own is None else own
        expected = self.paths["loss.formulation"].center if "loss.formulation" in self.paths else None
        # An own training has no formulation.
        formulation = drawn.get("loss.formulation", base.get("loss.formulation"))
        expected = base.get("loss.formulation") if expected is None else expected
        if path not in _KERNEL_WEIGHTS or formulation == expected or not isinstance(center, int | float):
            return center
        size = float((base | dict(drawn))["data.batch_size"])  # type: ignore[operator]
        return center / size if expected == "released" else center * size
