"""Promotion: the bounds that a candidate must meet before it becomes the champion."""

from pydantic import Field

from kmcl_platform.config.base import Frozen


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
