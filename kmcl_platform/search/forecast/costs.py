"""The costs of a trial, from what a plan has measured."""

from collections.abc import Callable, Sequence

from kmcl_platform.config.base import Frozen
from kmcl_platform.config.reports.measurement import Level, Measurement
from kmcl_platform.config.search_file import SearchFile

EPOCH_OVERHEAD_SECONDS = 0.05
"""From an epoch's checkpoint to the first step of the next epoch: the report, the record and the pruner's decision.

Measured with `kmcl search search_spaces/digits.yaml` on two CPU cores: 0.07 s for each epoch without training and
evaluation, of which 0.02 s for the checkpoint."""

TRIAL_OVERHEAD_SECONDS = 0.3
"""From the end of a trial to the set-up of the next one: the study, the record and Tune. In the same search it was
0.35 s, of which 0.05 s for the set-up."""


class Range(Frozen):
    """The lowest, expected and highest value of a quantity."""

    low: float
    expected: float
    high: float

    def contains(self, value: float) -> bool:
        """Whether a value lies between the lowest and the highest."""
        return self.low <= value <= self.high


class Costs(Frozen):
    """The costs of a trial.

    Attributes:
        epoch_seconds: training and evaluation of an epoch.
        epoch_overhead_seconds: the other parts of an epoch: checkpoint, report and record.
        trial_seconds: the time of a trial outside its epochs.
        checkpoint_bytes: the size of a checkpoint of a trial that runs.
        average_bytes: the size of the averaged weights, which stay on the disk for the best trials.
        start_seconds: from the start of the workers to the start of the first trial.
    """

    epoch_seconds: Range
    epoch_overhead_seconds: Range
    trial_seconds: Range
    checkpoint_bytes: Range
    average_bytes: Range
    start_seconds: float


def to_costs(
    measured: Sequence[tuple[Level, Measurement]], start_seconds: float, *, checkpoint_share: float = 1.0
) -> Costs:
    """The costs of a trial.

    Args:
        measured: the corners, at least one.
        start_seconds: until the workers had started.
        checkpoint_share: share of the epochs after which a checkpoint is written.
    """
    # A space of choices alone, or a plan whose middle corners failed, has no measured middle: then all corners count.
    middle = [found for level, found in measured if level == "middle"] or [found for _, found in measured]

    def spread(value: Callable[[Measurement], float]) -> Range:
        values = [value(found) for _, found in measured]
        expected = sum(value(found) for found in middle) / len(middle)
        return Range(low=min(values), expected=expected, high=max(values))

    return Costs(
        epoch_seconds=spread(lambda found: found.epoch_seconds),
        epoch_overhead_seconds=spread(
            lambda found: checkpoint_share * found.checkpoint_seconds + EPOCH_OVERHEAD_SECONDS
        ),
        trial_seconds=spread(lambda found: found.setup_seconds + TRIAL_OVERHEAD_SECONDS),
        checkpoint_bytes=spread(lambda found: found.checkpoint_bytes),
        average_bytes=spread(lambda found: found.average_bytes),
        start_seconds=start_seconds,
    )


def mix_costs(costs: Sequence[tuple[Costs, int]]) -> Costs:
    """The costs of a trial on a cluster with several types of GPUs.

    A type that is twice as fast trains twice as many epochs in the same time, so times are harmonic means over the
    places for trials.

    Args:
        costs: of each type, with its number of places; at least one.
    """
    first = costs[0][0]

    def mean(field: str, end: str) -> float:
        pace = sum(places / getattr(getattr(one, field), end) for one, places in costs)
        return float(sum(places for _, places in costs) / pace)

    times = {
        field: Range.model_validate({end: mean(field, end) for end in Range.model_fields})
        for field in ("epoch_seconds", "epoch_overhead_seconds", "trial_seconds")
    }
    # The first trial begins when the last type has its workers; sizes on the disk are the same everywhere.
    start = max(one.start_seconds for one, _ in costs)
    return first.model_copy(update={**times, "start_seconds": start}) if len(costs) > 1 else first


def checkpoint_share(file: SearchFile) -> float:
    """The share of a trial's epochs after which it writes a checkpoint.

    A trial with a frozen backbone writes one only where it may end (`training/fit.py`).
    """
    num_epochs = file.base.num_epochs
    if file.base.model.backbone_mode != "frozen":
        return 1.0
    return (len(file.scheduler.stopping_epochs(num_epochs)) + 1) / num_epochs
