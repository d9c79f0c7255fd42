"""Measurement: what a few steps of a trial cost, as `kmcl plan` takes it before a search."""

from typing import Literal

from pydantic import Field

from kmcl_platform.config.base import Frozen

Level = Literal["high", "middle", "low"]
"""Where the numbers of a probe point lie between their bounds."""


class Measurement(Frozen):
    """The costs of one trial, measured on the workers that would train it.

    Attributes:
        device: where the workers compute.
        setup_seconds: building the model, the data sets and the optimizer.
        seconds_per_step: mean wall time of an optimizer step after the first few, data loading included.
        steps_per_epoch: optimizer steps in an epoch.
        evaluation_seconds: of the whole validation split, from some of its batches, the metrics included.
        checkpoint_seconds: writing one checkpoint.
        checkpoint_bytes: size of one checkpoint of a trial that may go on.
        average_bytes: what is left of one that is kept when its trial has ended.
        peak_bytes: largest memory of any one worker: resident memory of its process on a CPU (its libraries included),
            memory allocated by torch on a GPU.
        device_bytes: memory of one GPU; 0 on a CPU.
        underflow_share: share of the last batch's known labels whose kernel is 0 in float32; None: no kernels.
        first_steps: steps taken from the trial's start, with the numbers that the trial itself would have.
        nonfinite_first_steps: those in which a term of the loss was not finite.
        peak_steps: steps taken after them at the schedule's peak learning rate, without its warm-up.
        nonfinite_peak_steps: those in which a term of the loss was not finite.
        total_seconds: wall time of the whole measurement.
    """

    device: Literal["cpu", "cuda"]
    setup_seconds: float = Field(ge=0)
    seconds_per_step: float = Field(gt=0)
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

    @property
    def epoch_seconds(self) -> float:
        """Training and evaluation of one epoch, which is what an epoch's report calls its seconds."""
        return self.seconds_per_step * self.steps_per_epoch + self.evaluation_seconds
