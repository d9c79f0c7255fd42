"""Forecast: what a search will take, by arithmetic from what its corners cost.

Every quantity is a range. Low: each trial but one is stopped at the first rung and costs as little as the cheapest
corner. High: each trial trains to its end and costs as much as the costliest corner. Expected: trials cost as much as
the corners in the middle of the space, and the pruner keeps as many of them as of trials in random order of merit.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import ValidationError

from kmcl_platform.config.base import Frozen
from kmcl_platform.config.reports.measurement import Level, Measurement
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.errors import SearchError
from kmcl_platform.search.forecast.expected_epochs import expected_epochs, expected_trials, fewest_epochs

EPOCH_OVERHEAD_SECONDS = 0.05
"""From an epoch's checkpoint to the next epoch's first step: its report, its record and the verdict. On two CPU cores
`kmcl search search_spaces/digits.yaml` took 0.07 s an epoch beside training and evaluation, 0.02 s of them to write the
checkpoint."""

TRIAL_OVERHEAD_SECONDS = 0.3
"""From a trial's last verdict to the next one's set-up: the study, the record and Tune. In the same
search it was 0.35 s, 0.05 s of them for the set-up."""


class Range(Frozen):
    """A quantity that is not known: its lowest, expected and highest value."""

    low: float
    expected: float
    high: float

    def contains(self, value: float) -> bool:
        """Whether a value lies between the lowest and the highest."""
        return self.low <= value <= self.high


class Costs(Frozen):
    """What the trials of a search cost.

    Attributes:
        epoch_seconds: training and evaluation of an epoch.
        epoch_overhead_seconds: what else an epoch takes: checkpoint, report, record.
        trial_seconds: what a trial takes beside its epochs.
        checkpoint_bytes: what a trial has on the disk while it runs.
        average_bytes: what is left of it where it is kept.
        start_seconds: from the start of the workers to the first trial's.
    """

    epoch_seconds: Range
    epoch_overhead_seconds: Range
    trial_seconds: Range
    checkpoint_bytes: Range
    average_bytes: Range
    start_seconds: float


class Forecast(Frozen):
    """What a search will take in all.

    Attributes:
        search: its name.
        fingerprint: of the search file, as `fingerprint` gives it.
        concurrency: trials at once.
        ends_by: the part of the budget that is expected to end it.
        epoch_seconds: training and evaluation of an epoch.
        trials: trials that are begun.
        epochs: epochs of all trials together.
        hours: wall time, from the start of the workers.
        gpu_hours: GPU time of training and evaluation.
        disk_bytes: checkpoints that stay.
        peak_disk_bytes: the most that checkpoints may take while trials run.
    """

    search: str
    fingerprint: str
    concurrency: int
    ends_by: str
    epoch_seconds: Range
    trials: Range
    epochs: Range
    hours: Range
    gpu_hours: Range
    disk_bytes: Range
    peak_disk_bytes: float


def to_costs(measured: Sequence[tuple[Level, Measurement]], start_seconds: float) -> Costs:
    """The costs of a space's trials from those of its corners, of which there is at least one."""
    middle = [found for level, found in measured if level == "middle"] or [found for _, found in measured]

    def spread(value: Callable[[Measurement], float]) -> Range:
        values = [value(found) for _, found in measured]
        expected = sum(value(found) for found in middle) / len(middle)
        return Range(low=min(values), expected=expected, high=max(values))

    return Costs(
        epoch_seconds=spread(lambda found: found.epoch_seconds),
        epoch_overhead_seconds=spread(lambda found: found.checkpoint_seconds + EPOCH_OVERHEAD_SECONDS),
        trial_seconds=spread(lambda found: found.setup_seconds + TRIAL_OVERHEAD_SECONDS),
        checkpoint_bytes=spread(lambda found: found.checkpoint_bytes),
        average_bytes=spread(lambda found: found.average_bytes),
        start_seconds=start_seconds,
    )


def build_forecast(file: SearchFile, costs: Costs, concurrency: int) -> Forecast:
    """The forecast of a whole search, from its first trial to the end of its budget.

    Args:
        file: the search, of no arms.
        costs: of its trials.
        concurrency: trials at once, at least 1.
    """
    num_trials, num_epochs, patience = file.budget.trials, file.base.num_epochs, file.budget.patience
    fewest = num_trials if patience is None else min(num_trials, patience + 1)
    likely = num_trials if patience is None else expected_trials(num_trials, patience)
    totals = {
        "low": _total(file, costs, concurrency, "low", fewest, fewest_epochs(file.scheduler, num_epochs, fewest)),
        "expected": _total(
            file, costs, concurrency, "expected", likely, expected_epochs(file.scheduler, num_epochs, likely)
        ),
        "high": _total(file, costs, concurrency, "high", num_trials, num_trials * num_epochs),
    }
    ends_by = totals["expected"].ends_by
    if ends_by == "budget.trials" and likely < num_trials:
        ends_by = "budget.patience"

    def spread(name: str) -> Range:
        # Where the time is bounded, the costliest trials are the fewest.
        values = [getattr(total, name) for total in totals.values()]
        return Range(low=min(values), expected=getattr(totals["expected"], name), high=max(values))

    return Forecast(
        search=file.name,
        fingerprint=fingerprint(file),
        concurrency=concurrency,
        ends_by=ends_by,
        epoch_seconds=costs.epoch_seconds,
        trials=spread("trials"),
        epochs=spread("epochs"),
        hours=spread("hours"),
        gpu_hours=spread("gpu_hours"),
        disk_bytes=spread("disk_bytes"),
        # While a checkpoint is written the former one is still there.
        peak_disk_bytes=totals["high"].disk_bytes + 2 * concurrency * costs.checkpoint_bytes.high,
    )


def fingerprint(file: SearchFile) -> str:
    """A hash of everything that a search file says: a forecast holds for no other."""
    return hashlib.sha256(file.model_dump_json().encode()).hexdigest()


def write_whole(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}-{os.getpid()}")
    draft.write_text(text)
    draft.replace(path)


def read_forecast(path: Path) -> Forecast | None:
    """Read a forecast; none if there is no such file.

    Raises:
        SearchError: the file is no forecast of this version of the platform.
    """
    if not path.exists():
        return None
    try:
        return Forecast.model_validate_json(path.read_bytes())
    except ValidationError:
        raise SearchError(f"{path}: not a forecast; valid: one that `kmcl plan` wrote, or no file") from None


class _Total(Frozen):
    trials: float
    epochs: float
    hours: float
    gpu_hours: float
    disk_bytes: float
    ends_by: str


def _total(
    file: SearchFile, costs: Costs, concurrency: int, which: str, num_trials: float, num_epochs: float
) -> _Total:
    """One end of the range, cut where the budget of time ends it."""

    def cost(name: str) -> float:
        return float(getattr(getattr(costs, name), which))

    epoch = cost("epoch_seconds") + cost("epoch_overhead_seconds")
    longest = cost("trial_seconds") + file.base.num_epochs * epoch
    seconds = (num_trials * cost("trial_seconds") + num_epochs * epoch) / concurrency
    if num_epochs == num_trials * file.base.num_epochs:
        # Trials of one length run in rounds, the last of which need not be full.
        seconds = -(-num_trials // concurrency) * longest
    hours = (costs.start_seconds + max(seconds, longest)) / 3600
    gpus = file.resources.workers_per_trial * file.resources.gpus_per_worker
    gpu_hours = num_epochs * cost("epoch_seconds") * gpus / 3600
    shares = {"budget.trials": 1.0}
    if file.budget.hours is not None:
        shares["budget.hours"] = file.budget.hours / hours
    if file.budget.gpu_hours is not None:
        shares["budget.gpu_hours"] = file.budget.gpu_hours / gpu_hours
    ends_by = min(shares, key=lambda name: shares[name])
    share = shares[ends_by]
    return _Total(
        trials=num_trials * share,
        epochs=num_epochs * share,
        hours=hours * share,
        gpu_hours=gpu_hours * share,
        # At least one trial reaches its full length, and no more are kept than there are.
        disk_bytes=(1 if which == "low" else min(file.budget.checkpoints, num_trials)) * cost("average_bytes"),
        ends_by=ends_by,
    )
