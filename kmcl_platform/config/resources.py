"""What a search may use: the bounds of its budget, and the part of the cluster that a trial has."""

from pydantic import Field, ValidationInfo, field_validator

from kmcl_platform.config.base import Frozen


class Budget(Frozen):
    """The bounds of a search, over all its starts. The bound that is reached first ends it."""

    trials: int = Field(ge=1, le=100_000)
    """Number of trials, baselines included."""
    hours: float | None = Field(default=None, gt=0)
    """Wall time. Trials that run at its end keep their checkpoints, and continue if the budget is raised."""
    gpu_hours: float | None = Field(default=None, gt=0)
    """Training time of all trials, times the GPUs of a trial. It ends the search in the same way as `hours`."""
    patience: int | None = Field(default=None, ge=1)
    """The search ends when so many trials have ended since the best one. Trials that run at that time are finished."""
    checkpoints: int = Field(default=3, ge=1)
    """Number of ended trials whose weights stay on the disk: the best ones of full length, over the whole search.
    Trials that run keep what they need to continue."""


class Resources(Frozen):
    """The part of the cluster that one trial uses."""

    workers_per_trial: int = Field(default=1, ge=1, le=4096)
    """Processes that train one trial together; each has its part of every batch."""
    cpus_per_worker: float = Field(default=1, gt=0, le=1024)
    """CPU cores that Ray reserves for each worker."""
    gpus_per_worker: float = Field(default=0, ge=0, json_schema_extra={"maximum": 1})
    """GPUs of each worker: 1, or a share of one, such as 0.5 if two trials of one worker use a GPU at the same time.
    0: it trains on the CPU."""
    max_concurrent_trials: int | None = Field(default=None, ge=1)
    """Largest number of trials that run at the same time; None: as many as fit on the cluster."""

    @field_validator("gpus_per_worker")
    @classmethod
    def _check_gpus(cls, gpus: float, info: ValidationInfo) -> float:
        # Not a bound of the field, because the messages give the remedy.
        if gpus > 1:
            raise ValueError("at most 1, because a worker trains on one GPU; more workers_per_trial use more GPUs")
        if 0 < gpus < 1 and info.data.get("workers_per_trial", 1) > 1:
            raise ValueError(
                "0 or 1 with more than one of workers_per_trial, because workers of a trial cannot share a GPU"
            )
        return gpus
