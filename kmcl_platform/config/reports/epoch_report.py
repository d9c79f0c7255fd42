"""EpochReport: the result of one epoch of a trial, and the names of its metrics."""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from kmcl_platform.config.base import Frozen
from kmcl_platform.config.reports.costs import COSTS
from kmcl_platform.plugins.metric import list_metrics, metric_names

TRAIN_LOSSES = ("train/loss", "train/asymmetric", "train/reconstruction", "train/contrastive")
"""Mean over the epoch's steps of the objective and its terms (unweighted)."""

SKIPPED_IMAGES = "train/skipped_images"
"""Training images of the epoch, over all workers, that were corrupt and skipped; only with `data.corrupt_images: skip`.
It cannot be an objective."""

GRADIENT_SHARES = tuple(name.replace("train/", "train/gradient_share/") for name in TRAIN_LOSSES[1:])
"""Each weighted term's share, in [0, 1], of the gradient norms at the features, at the epoch's last step. It cannot be
an objective. A term whose weight is 0 has none."""

TERM_WEIGHTS = ("train/weight/reconstruction", "train/weight/contrastive")
"""What each kernel term is multiplied by at the epoch's last step, where this changes during training: with
`loss.balance: gradient_shares`, and with `loss.kernel_start`. It cannot be an objective."""


def objective_names(*, built_in: bool = False) -> list[str]:
    """Every name that a search may have as its objective: losses in training, and metrics on the validation split.

    Args:
        built_in: without the metrics of plug-ins.
    """
    names = [name for metric in list_metrics(() if built_in else None) for name in metric_names(metric)]
    return [*TRAIN_LOSSES, *(f"val/{name}" for name in names)]


def objective_mode(metric: str) -> Literal["maximize", "minimize"]:
    """The direction in which a metric gets better, which a search has by default."""
    if metric in TRAIN_LOSSES or metric in COSTS:
        return "minimize"
    return next((one.mode for one in list_metrics() if metric.removeprefix("val/") in metric_names(one)), "maximize")


class EpochReport(Frozen):
    """The result of one epoch.

    Attributes:
        epoch: number of the epoch, from 1.
        metrics: metric name to value; a metric that is undefined (no positive label) is absent.
        seconds: wall time of the epoch's training and evaluation.
        usage: the machine's resources that the epoch used, under MLflow's names for system metrics (`system/NAME`).
            If the epoch is trained again, its metrics are the same, but not these values.
        resumed_from: epoch of the checkpoint from which the trial continued; 0: it began with epoch 1.
        process_id: the process of the first worker, so that an operator finds it.
        device: the model of the GPU or CPU that it was trained on; empty: not known.
    """

    epoch: int = Field(ge=1)
    metrics: Mapping[str, float]
    seconds: float = Field(ge=0)
    usage: Mapping[str, float] = Field(default_factory=dict)
    resumed_from: int = Field(default=0, ge=0)
    process_id: int = 0
    device: str = ""
