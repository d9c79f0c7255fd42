"""Measurement: the costs of a trial's first steps, which `kmcl plan` measures before a search."""

from typing import Literal

from pydantic import Field

from kmcl_platform.config.base import Frozen
from kmcl_platform.config.reports.step_limit import StepLimit, find_limit

Level = Literal["high", "middle", "low"]
"""The position of a probe point's numbers within their bounds."""


class Measurement(Frozen):
    """The costs of one trial, measured on the workers that would train it.

    Attributes:
        device: where the workers compute.
        setup_seconds: time to build the model, the datasets and the optimizer.
        seconds_per_step: mean wall time of an optimizer step after the first few, data loading included.
        seconds_in_memory: the same with images that are in memory already.
        loss_seconds: wall time of the loss alone, with its backward pass to the features.
        steps_per_epoch: optimizer steps in an epoch.
        evaluation_seconds: time to evaluate the whole validation split, with its metrics; computed from some batches.
        checkpoint_seconds: time to write one checkpoint.
        checkpoint_bytes: size of a checkpoint from which the trial can continue.
        average_bytes: size of the part of a checkpoint that may stay when its trial has ended.
        peak_bytes: largest memory of any worker: on a CPU the resident memory of its process, with its libraries; on a
            GPU the memory that torch allocated.
        device_bytes: memory of one GPU; 0 on a CPU.
        underflow_share: share of the last batch's known labels whose kernel is 0 in float32; None: no kernels.
        first_steps: number of steps from the trial's start; they compute the same numbers as the trial itself.
        nonfinite_first_steps: number of these steps in which a term of the loss was not finite.
        peak_steps: number of steps after them, at the schedule's peak learning rate, without its warm-up.
        nonfinite_peak_steps: number of these steps in which a term of the loss was not finite.
        total_seconds: wall time of the whole measurement.
        model_costs: what the model costs to use, if the search has objectives or constraints about that, by metric.
    """

    device: Literal["cpu", "cuda"]
    setup_seconds: float = Field(ge=0)
    seconds_per_step: float = Field(gt=0)
    seconds_in_memory: float = Field(default=0, ge=0)
    loss_seconds: float = Field(default=0, ge=0)
    steps_per_epoch: int = Field(ge=1)
    evaluation_seconds: float = Field(ge=0)
    checkpoint_seconds: float = Field(ge=0)
    checkpoint_bytes: int = Field(ge=1)
    average_bytes: int = Field(ge=1)
    peak_bytes: int = Field(ge=0)
    device_bytes: int = Field(default=0, ge=0)
    underflow_share: float | None = Field(default=None, ge=0, le=1)
    first_steps: int = Field(ge=1)
    nonfinite_first_steps: int = Field(default=0, ge=0)
    peak_steps: int = Field(default=0, ge=0)
    nonfinite_peak_steps: int = Field(default=0, ge=0)
    total_seconds: float = Field(ge=0)
    model_costs: dict[str, float] = Field(default_factory=dict)

    @property
    def limit(self) -> StepLimit:
        """What a step waits for most. It waits for images as long as it takes longer than with images in memory."""
        waiting = max(0.0, 1 - self.seconds_in_memory / self.seconds_per_step)
        return find_limit(waiting, self.loss_seconds / self.seconds_per_step)

    @property
    def epoch_seconds(self) -> float:
        """Training and evaluation of one epoch, as `EpochReport.seconds`."""
        return self.seconds_per_step * self.steps_per_epoch + self.evaluation_seconds
