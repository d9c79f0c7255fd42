"""The forecast of a search: its time, GPU time and disk, computed from the measured costs of its corners.

Every quantity is a range. Low: every trial but one is stopped at the first rung, and costs as much as the cheapest
corner. High: every trial trains to its end, and costs as much as the costliest corner. Expected: a trial costs as much
as the corners in the middle of the space, and the pruner stops trials as in `expected_epochs`.
"""

import hashlib
from pathlib import Path

from pydantic import ValidationError

from kmcl_platform.config.base import Frozen
from kmcl_platform.config.first_trials import is_point, list_baselines
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.errors import SearchError
from kmcl_platform.files.file_status import is_there
from kmcl_platform.messages import show_path
from kmcl_platform.plugins.faults.code_errors import code_of
from kmcl_platform.search.forecast.costs import Costs, Range
from kmcl_platform.search.forecast.expected_trials import expected_front, expected_trials


class Forecast(Frozen):
    """The expected totals of a search.

    Attributes:
        search: the name of the search.
        fingerprint: the hash of the search file, see the function `fingerprint`.
        concurrency: the number of trials that run at the same time.
        ends_by: the part of the budget that is expected to end the search.
        epoch_seconds: training and evaluation of an epoch.
        trials: the number of trials.
        epochs: the number of epochs of all trials.
        hours: wall time, from the start of the workers.
        gpu_hours: GPU time of training and evaluation.
        money: the cost of all places for trials; 0: there is no price.
        disk_bytes: the size of the checkpoints that are kept after the search; high, if all trials were trade-offs of
            several objectives.
        peak_disk_bytes: the largest size of all checkpoints while trials run, with the expected number of trade-offs.
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
    money: Range = Range(low=0, expected=0, high=0)
    disk_bytes: Range
    peak_disk_bytes: float


def build_forecast(file: SearchFile, costs: Costs, concurrency: int) -> Forecast:
    """The forecast of a whole search, from its first trial to the end of its budget.

    Args:
        file: the search, without arms.
        costs: the costs of a trial.
        concurrency: the number of trials that run at the same time, at least 1.
    """
    num_trials, num_epochs, patience = file.budget.trials, file.base.num_epochs, file.budget.patience
    # Baselines outside the space train to their end, and patience does not count them.
    fixed = sum(not is_point(file, one) for one in list_baselines(file))
    searched = max(num_trials - fixed, 0)
    # At the earliest, the first trial is the best one, and `patience` more trials end after it.
    fewest = searched if patience is None else min(searched, patience + 1)
    likely = searched if patience is None else expected_trials(searched, patience)
    with code_of(file.scheduler):
        low = file.scheduler.fewest_epochs(num_epochs, fewest) + fixed * num_epochs
        middle = file.scheduler.expected_epochs(num_epochs, likely) + fixed * num_epochs
    totals = {
        "low": _total(file, costs, concurrency, "low", fewest + fixed, low),
        "expected": _total(file, costs, concurrency, "expected", likely + fixed, middle),
        "high": _total(file, costs, concurrency, "high", num_trials, num_trials * num_epochs),
    }
    ends_by = totals["expected"].ends_by
    if ends_by == "budget.trials" and likely < searched:
        ends_by = "budget.patience"

    def spread(name: str) -> Range:
        # If the budget bounds the time, fewer of the costly trials fit: the case "high" can have the lowest number.
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
        money=spread("money"),
        disk_bytes=spread("disk_bytes"),
        peak_disk_bytes=_kept(file, num_trials) * costs.average_bytes.high
        + _held(file, costs) * concurrency * costs.checkpoint_bytes.high,
    )


def _kept(file: SearchFile, num_trials: float) -> float:
    """How many trials keep a checkpoint after the search."""
    # The best trial is a trade-off too. Not more checkpoints are kept than there are trials.
    front = expected_front(round(num_trials), max(1, len(file.objectives)))
    return min(file.budget.checkpoints + front - 1, num_trials)


def _held(file: SearchFile, costs: Costs) -> int:
    """How many checkpoints of a trial are on the disk while another one is written, with that one."""
    minutes = file.resources.checkpoint_minutes
    # One within an epoch does not replace that of the epoch before.
    return 3 if minutes is not None and costs.epoch_seconds.high >= 60 * minutes else 2


def fingerprint(file: SearchFile) -> str:
    """The hash of everything in a search file; a forecast is only valid for the same content."""
    # Of the checked file, not of its text: comments and the order of options do not count.
    # The defaults of baselines are a part of it.
    whole = file.model_copy(update={"baselines": list_baselines(file)})
    return hashlib.sha256(whole.model_dump_json().encode()).hexdigest()


def read_forecast(path: Path) -> Forecast | None:
    """Read a forecast; None: there is no such file.

    Raises:
        SearchError: the file is not a forecast of this version of the platform.
    """
    if not is_there(path):
        return None
    try:
        return Forecast.model_validate_json(path.read_bytes())
    except ValidationError:
        raise SearchError(
            f"{show_path(path)}: not a forecast; valid: the file as `kmcl plan` wrote it; or delete it"
        ) from None


class _Total(Frozen):
    trials: float
    epochs: float
    hours: float
    gpu_hours: float
    money: float
    disk_bytes: float
    ends_by: str


def _total(
    file: SearchFile, costs: Costs, concurrency: int, which: str, num_trials: float, num_epochs: float
) -> _Total:
    """The totals of one case (`low`, `expected`, `high`), reduced in proportion if the budget of time ends it."""

    def cost(name: str) -> float:
        return float(getattr(getattr(costs, name), which))

    epoch = cost("epoch_seconds") + cost("epoch_overhead_seconds")
    longest = cost("trial_seconds") + file.base.num_epochs * epoch
    # Trials of different length fill the places without gaps.
    seconds = (num_trials * cost("trial_seconds") + num_epochs * epoch) / concurrency
    if num_epochs == num_trials * file.base.num_epochs:
        # Trials of one length run in rounds; the last round may have fewer trials.
        seconds = -(-num_trials // concurrency) * longest
    # A search is never shorter than its one longest trial, however many places there are.
    hours = (costs.start_seconds + max(seconds, longest)) / 3600
    gpus = file.resources.workers_per_trial * file.resources.gpus_per_worker
    # As the search's ledger charges it: training and evaluation, without the overhead.
    gpu_hours = num_epochs * cost("epoch_seconds") * gpus / 3600
    # The share of the whole search after which each bound is reached; the smallest share ends it.
    shares = {"budget.trials": 1.0}
    if file.budget.hours is not None:
        shares["budget.hours"] = file.budget.hours / hours
    if file.budget.gpu_hours is not None:
        shares["budget.gpu_hours"] = file.budget.gpu_hours / gpu_hours
    money = hours * concurrency * (file.resources.price_per_hour or 0.0)
    if file.budget.money is not None:
        shares["budget.money"] = file.budget.money / money
    ends_by = min(shares, key=lambda name: shares[name])
    share = shares[ends_by]
    # At least one trial reaches its full length.
    kept = 1.0 if which == "low" else _kept(file, num_trials)
    if which == "high" and len(file.objectives) > 1:
        kept = num_trials
    return _Total(
        trials=num_trials * share,
        epochs=num_epochs * share,
        hours=hours * share,
        gpu_hours=gpu_hours * share,
        money=money * share,
        disk_bytes=kept * cost("average_bytes"),
        ends_by=ends_by,
    )
