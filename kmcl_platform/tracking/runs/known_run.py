"""The epochs and devices that a trial's run has already, so that nothing is written twice."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kmcl_platform.config.reports.epoch_report import EpochReport
from kmcl_platform.tracking.runs.names import DEVICE_TAG, EPOCH_SECONDS, EPOCHS, WALL_SECONDS

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_BETWEEN = "; "
"""Between two devices. One name may have a comma: that of workers with different devices."""

Step = tuple[int, int | None, Mapping[str, float]]


@dataclass(frozen=True)
class KnownRun:
    """A trial's run.

    Attributes:
        run_id: its id.
        seconds: of each of its recorded epochs.
        devices: what it was trained on, in the order of its epochs.
    """

    run_id: str
    seconds: dict[int, float] = field(default_factory=dict)
    devices: tuple[str, ...] = ()

    @property
    def tags(self) -> dict[str, str]:
        """The tag with the devices; none if no epoch has named one."""
        return {DEVICE_TAG: _BETWEEN.join(self.devices)} if self.devices else {}

    def with_epochs(self, reports: Sequence[tuple[EpochReport, int | None]]) -> "tuple[KnownRun, list[Step]]":
        """The run after these epochs, each with its time, and what is to be written for those that it has not yet."""
        seconds, devices = dict(self.seconds), dict.fromkeys(self.devices)
        steps: list[Step] = []
        for report, time_ms in reports:
            if report.epoch in seconds:
                continue
            seconds[report.epoch] = report.seconds
            devices |= {report.device: None} if report.device else {}
            # Written with each epoch, so that it is right even if the process dies before it records the trial's end.
            own = {EPOCHS: report.epoch, EPOCH_SECONDS: report.seconds, WALL_SECONDS: sum(seconds.values())}
            steps.append((report.epoch, time_ms, {**report.metrics, **report.usage, **own}))
        return KnownRun(self.run_id, seconds, tuple(devices)), steps


def read_known(client: "MlflowClient", run: "Run") -> KnownRun:
    """Read it from MLflow."""
    # Every write of an epoch has this metric, so its steps are the epochs that MLflow already has.
    history = client.get_metric_history(run.info.run_id, EPOCH_SECONDS)
    devices = tuple(filter(None, run.data.tags.get(DEVICE_TAG, "").split(_BETWEEN)))
    return KnownRun(run.info.run_id, {point.step: point.value for point in history}, devices)
