"""What a search file says about the time after its trials.

Which of them are trained again to be compared, when a model is promoted, and how it turns scores into labels.
"""

from typing import Literal

from pydantic import Field, field_validator

from kmcl_platform.config.base import Frozen


class Verdict(Frozen):
    """The final comparison: the best trial of each arm is trained again, on seeds that no search has used.

    Without arms, the search's best trial is compared with its best baseline.
    """

    seeds: int = Field(default=5, ge=0, le=100)
    """Number of trainings of each compared trial, all with the same seeds; 0: no verdict."""

    @field_validator("seeds")
    @classmethod
    def _check_seeds(cls, seeds: int) -> int:
        if seeds == 1:
            raise ValueError("0, or at least 2: one training cannot show the effect of chance")
        return seeds


class Finalists(Frozen):
    """After the search its best trials are trained again on new seeds, and the best mean decides between them.

    The best baseline, and the best trial with kernel terms, are always among them.
    """

    trials: int = Field(default=3, ge=1, le=20)
    """Number of the best trials of full length."""
    seeds: int = Field(default=3, ge=2, le=100)
    """Number of trainings of each of them, all with the same seeds."""


class Promotion(Frozen):
    """The bounds of the gates. None: there is no such gate. They may be changed when a search is continued."""

    margin: float = Field(default=0, ge=0, lt=1)
    """By how much the candidate's mAP on the test split has to be above the champion's, in [0, 1)."""
    confidence: float = Field(default=0.95, gt=0, lt=1)
    """Confidence of the bootstrap intervals, in (0, 1). The interval of the difference in mAP must be above 0.
    Predictions show the uncertainty of the kernels only if it finds wrong decisions: the interval of its AUROC must be
    above 0.5."""
    resamples: int = Field(default=1000, ge=100, le=100_000)
    """Bootstrap samples of the images, for the intervals."""
    class_tolerance: float | None = Field(default=0.1, ge=0, le=1)
    """By how much the AP of a single class may be below the champion's."""
    class_min_positives: int = Field(default=10, ge=1)
    """Classes with fewer positive test images are not compared with the tolerance: chance changes their AP more."""
    max_calibration_error: float | None = Field(default=None, gt=0, le=1)
    """Largest expected calibration error on the test split, in (0, 1]."""
    max_latency_ms: float | None = Field(default=None, gt=0)
    """Largest median time of one image in milliseconds, decoding included, on the machine that promotes."""
    max_size_mb: float | None = Field(default=None, gt=0)
    """Largest size of the weights, in millions of bytes."""


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
