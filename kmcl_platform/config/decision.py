"""Decision: how a registered model turns scores into labels."""

from typing import Literal

from pydantic import Field

from kmcl_platform.config.base import Frozen


class Decision(Frozen):
    """What thresholds and calibration aim at on the validation split. No part of what a search is: it may change."""

    objective: Literal["f1", "precision", "recall"] = "f1"
    """Of each class by itself. `f1`: the best F1; `precision`: the highest recall whose precision is at least `floor`;
    `recall`: the fewest predictions whose recall is at least `floor`."""
    floor: float = Field(default=0.9, gt=0, le=1)
    """Of precision or recall, in (0, 1]; `f1` has none."""
    min_positives: int = Field(default=5, ge=1)
    """A class with fewer known positive validation images keeps the threshold 0.5: they would decide by chance."""
    calibration: Literal["shifted", "temperature", "none"] = "shifted"
    """Of all classes alike: `temperature` divides logits by one number; `shifted` adds another one too, since an
    asymmetric loss moves all scores upwards, which no temperature takes back; `none`: scores as trained."""
