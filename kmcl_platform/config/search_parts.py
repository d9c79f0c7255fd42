"""The parts of a search file: its objective, budget, resources and baselines."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from kmcl_platform.config.base import FileScalar, Frozen
from kmcl_platform.config.reports.epoch_report import objective_mode

NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


def _check_name(name: str) -> str:
    if not NAME_PATTERN.fullmatch(name):
        raise ValueError("lower-case letters, digits, - and _, at most 63, beginning with a letter or digit")
    return name


Name = Annotated[str, AfterValidator(_check_name)]


ACCELERATOR_TYPES = (
    "V100", "P100", "T4", "P4", "K80", "A10G", "L4", "L40S", "A100", "A100-40G", "A100-80G", "H100", "H200", "H20",
    "B200", "B300", "GB200", "GB300", "RTX-PRO-6000", "AMD-Instinct-MI100", "AMD-Instinct-MI250X",
    "AMD-Instinct-MI250X-MI250", "AMD-Instinct-MI210", "AMD-Instinct-MI300A", "AMD-Instinct-MI300X-OAM",
    "AMD-Instinct-MI300X-HF", "AMD-Instinct-MI308X", "AMD-Instinct-MI325X-OAM", "AMD-Instinct-MI350X-OAM",
    "AMD-Instinct-MI355X-OAM", "AMD-Radeon-R9-200-HD-7900", "AMD-Radeon-HD-7900",
)  # fmt: skip
"""Ray's names of the GPUs that trials can train on. Ray is not imported here, because reading a file must stay fast."""


class Objective(Frozen):
    """The metric of a trial's last epoch that the search optimises."""

    metric: str = "val/mAP"
    """Name of a metric, as the epoch reports have it; that of an own training may have any name."""
    mode: Literal["maximize", "minimize"] = Field(
        default_factory=lambda data: objective_mode(data.get("metric", "")),
        json_schema_extra={"default": "maximize"},
    )
    """Whether larger or smaller values are better. The metric of a plug-in may have the default `minimize`."""

    @property
    def sign(self) -> int:
        """1 where larger is better, -1 where smaller is."""
        return 1 if self.mode == "maximize" else -1


class Budget(Frozen):
    """The bounds of a search, over all its starts. The bound that is reached first ends it."""

    trials: int = Field(ge=1, le=100_000)
    """Number of trials, baselines included."""
    hours: float | None = Field(default=None, gt=0)
    """Wall time. Trials that run at its end keep their checkpoints, and continue if the budget is raised."""
    gpu_hours: float | None = Field(default=None, gt=0)
    """Training time of all trials, times the GPUs of a trial. It ends the search in the same way as `hours`."""
    money: float | None = Field(default=None, gt=0)
    """Cost of the search, in the currency of `resources.price_per_hour`. It ends the search as `hours` does."""
    patience: int | None = Field(default=None, ge=1, le=100_000)
    """The search ends when so many trials have ended since the best one. Trials that run at that time are finished."""
    checkpoints: int = Field(default=3, ge=1, le=100_000)
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
    accelerator_type: str | None = Field(default=None, json_schema_extra={"enum": [*ACCELERATOR_TYPES, None]})
    """The only type of GPU that workers may use, by Ray's name, such as A100. None: any. A cluster with several types
    needs it if all trials are to take the same time."""
    max_concurrent_trials: int | None = Field(default=None, ge=1, le=100_000)
    """Largest number of trials that run at the same time; None: as many as fit on the cluster."""
    share: float | None = Field(default=None, gt=0, le=1)
    """Largest share of the CPUs and GPUs of the cluster that the trials use at the same time, such as 0.5 if two
    searches use one cluster; one trial always runs. It is counted again when nodes come or go. None: all of them."""
    checkpoint_minutes: float | None = Field(default=10, gt=0, le=10_000)
    """Minutes of training between two checkpoints within an epoch: a trial that loses a worker goes on from the last.
    Epochs that take less time have none. None: such a trial begins its epoch again."""

    price_per_hour: float | None = Field(default=None, ge=1e-9, le=1e9)
    """Price of an hour of what one trial uses, in any currency. None: what the search costs is not shown."""

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

    @field_validator("accelerator_type")
    @classmethod
    def _check_type(cls, name: str | None, info: ValidationInfo) -> str | None:
        if name is None:
            return None
        if name not in ACCELERATOR_TYPES:
            raise ValueError(f"one of Ray's names: {', '.join(ACCELERATOR_TYPES)}")
        # Without the key, `gpus_per_worker` itself is wrong, and has a message of its own.
        if info.data.get("gpus_per_worker", 1) == 0:
            raise ValueError("no value with gpus_per_worker: 0, because workers have no GPU; or gpus_per_worker: 1")
        return name


def find_bound_problem(budget: Budget, resources: Resources) -> str | None:
    """Why a bound of the budget means nothing with these resources, in words; None: each has a meaning."""
    if budget.gpu_hours is not None and not resources.gpus_per_worker:
        return f"budget.gpu_hours: got {budget.gpu_hours:g}; valid: no value, because trials have no GPU"
    if budget.money is not None and resources.price_per_hour is None:
        return f"budget.money: got {budget.money:g}; valid: no value, or also resources.price_per_hour"
    return None


class Baseline(Frozen):
    """A trial that the search has to beat: the base with other values, inside or outside the space."""

    name: Name
    """Lower-case letters, digits, - and _."""
    values: dict[str, FileScalar] = Field(min_length=1)
    """Values at dotted paths, which replace the base's."""
