"""Decision: how a registered model turns scores into labels."""

from typing import Literal

from pydantic import Field

from kmcl_platform.config.base import Frozen


class Decision(Frozen):
    """The aim of thresholds and calibration on the validation split. It may be changed when a search is continued."""

    objective: Literal["f1", "precision", "recall"] = "f1"
    """Optimised for each class by itself. `f1`: the best F1; `precision`: the highest recall whose precision is at
    least `floor`; `recall`: the fewest predictions whose recall is at least `floor`."""
    floor: float = Field(default=0.9, gt=0, le=1)
    """Smallest precision or recall, in (0, 1]; `f1` does not use it."""
    min_positives: int = Field(default=5, ge=1)
    """A class with fewer known positive validation images keeps the threshold 0.5: from so few images, a threshold
    would depend on chance."""
    calibration: Literal["shifted", "temperature", "none"] = "shifted"
    """One calibration for all classes. `temperature` divides the logits by one number. `shifted` also adds a number: an
    asymmetric loss moves all scores upwards, which a temperature cannot undo. `none`: scores as trained."""
