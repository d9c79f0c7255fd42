"""The score of a forecast: compared once with the search, when the search has ended."""

import json
from pathlib import Path

from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.store import Store
from kmcl_platform.errors import SearchError
from kmcl_platform.files.atomic_write import write_atomically
from kmcl_platform.search.forecast.costs import Range
from kmcl_platform.search.forecast.forecast import Forecast, fingerprint, read_forecast
from kmcl_platform.search.study.checkpoint_retention import measure_checkpoints
from kmcl_platform.search.study.study import DurableStudy
from kmcl_platform.tracking.runs.names import EPOCHS, WALL_SECONDS
from kmcl_platform.tracking.runs.search_run import SearchRuns


def is_score_due(store: Store, search: str) -> bool:
    """Whether a search has a forecast that has not been scored."""
    return store.forecast(search).exists() and not _scored(store, search).exists()


def score_forecast(file: SearchFile, store: Store, study: DurableStudy, runs: SearchRuns) -> str | None:
    """Compare a search's forecast with the search, and write both into its record; safe to repeat.

    The hours are those of the study's ledger, over all starts of the search.

    Returns:
        The result in one line; None: the search has no forecast.
    """
    try:
        forecast = read_forecast(store.forecast(file.name))
    except SearchError as error:
        # A damaged forecast is no reason to fail: the search is complete.
        return f"forecast of {file.name}: not scored: {error}"
    if forecast is None:
        return None
    # The forecast would be of another search, for example of one with a smaller budget.
    if forecast.fingerprint != fingerprint(file):
        return (
            f"forecast of {file.name}: not scored, because the search file has changed since `kmcl plan`; a new plan "
            "makes a new forecast"
        )
    metrics = [run.data.metrics for run in runs.trials.all_runs()]
    num_epochs = sum(int(one.get(EPOCHS, 0)) for one in metrics)
    seconds = sum(one.get(WALL_SECONDS, 0.0) for one in metrics)
    money = study.ledger.money
    happened = {
        "hours": study.ledger.hours,
        "gpu_hours": study.ledger.gpu_hours,
        **({} if money is None else {"money": money}),
        "disk_bytes": float(measure_checkpoints(store, file.name).bytes),
        "trials": float(len(study.counted())),
        "epochs": float(num_epochs),
    }
    # A search whose trials all failed at once has no epochs.
    if num_epochs:
        happened["epoch_seconds"] = seconds / num_epochs
    document = {"forecast": forecast.model_dump(), "happened": happened}
    runs.log_forecast(to_metrics(forecast, happened), document)
    # Last: if the process dies before this line, the next start scores the forecast again.
    write_atomically(_scored(store, file.name), json.dumps(document, indent=1))
    return describe(forecast, happened)


def to_metrics(forecast: Forecast, happened: dict[str, float]) -> dict[str, float]:
    """For each quantity: its forecast, the measured value divided by the forecast (unless that is 0), and whether the
    measured value was within the range."""
    metrics: dict[str, float] = {}
    for name, value in happened.items():
        predicted: Range = getattr(forecast, name)
        metrics[f"forecast/{name}"] = predicted.expected
        metrics[f"forecast/{name}_within_range"] = float(predicted.contains(value))
        if predicted.expected:
            metrics[f"forecast/{name}_ratio"] = value / predicted.expected
    return metrics


def describe(forecast: Forecast, happened: dict[str, float]) -> str:
    """The score in one line."""
    hours, spent = forecast.hours, happened["hours"]
    within = "within" if hours.contains(spent) else "outside"
    parts = [
        f"took {_minutes(spent)}, {spent / hours.expected:.2f} of the {_minutes(hours.expected)} forecast "
        f"({within} {_minutes(hours.low)} to {_minutes(hours.high)})"
    ]
    if forecast.gpu_hours.expected:
        parts.append(f"GPU-hours {happened['gpu_hours'] / forecast.gpu_hours.expected:.2f} of the forecast")
    if "money" in happened:
        parts.append(f"money {happened['money']:.3g} of {forecast.money.expected:.3g}")
    parts.append(f"epochs {happened['epochs']:.0f} of {forecast.epochs.expected:.0f}")
    if "epoch_seconds" in happened:
        parts.append(f"seconds per epoch {happened['epoch_seconds']:.2f} of {forecast.epoch_seconds.expected:.2f}")
    if forecast.disk_bytes.expected:
        parts.append(f"disk {happened['disk_bytes'] / forecast.disk_bytes.expected:.2f} of the forecast")
    return f"forecast of {forecast.search}: {'; '.join(parts)}"


def _scored(store: Store, search: str) -> Path:
    return store.forecast(search).with_suffix(".scored.json")


def _minutes(hours: float) -> str:
    return f"{hours:.1f} h" if hours >= 2 else f"{hours * 60:.1f} min"
