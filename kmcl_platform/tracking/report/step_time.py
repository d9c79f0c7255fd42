"""What the report says about the time of a training step, and about the cost of the search."""

import statistics
from collections.abc import Iterable, Mapping, Sequence

from kmcl_platform.config.reports.step_limit import GPU, LOSS, WAITING, find_limit
from kmcl_platform.config.reports.trial_columns import EPOCH_SECONDS
from kmcl_platform.messages import count_of


def describe_step_time(trials: Iterable[tuple[str, Mapping[str, float]]], *, frozen: bool) -> list[str]:
    """Sentences about the medians over the trials of each type of device; empty if no trial has measured its steps.

    Args:
        trials: of each, the device, and the last value of every metric.
        frozen: the backbone is not trained.
    """
    on: dict[str, list[Mapping[str, float]]] = {}
    for device, metrics in trials:
        on.setdefault(device, []).append(metrics)
    # A trial that failed at once, or that an older version recorded, has no device.
    if len(on.keys() - {""}) < 2:
        return _describe([metrics for of_device in on.values() for metrics in of_device], frozen=frozen)
    lines = []
    for device, of_device in sorted(on.items()):
        seconds = [own[EPOCH_SECONDS] for own in of_device if EPOCH_SECONDS in own]
        if seconds:
            lines.append(
                f"On {device or 'a device that is not recorded'}: {count_of(len(seconds), 'trial')}; an epoch took "
                f"{statistics.median(seconds):.3g} s (median). " + " ".join(_describe(of_device, frozen=frozen))
            )
    return [line.strip() for line in lines]


def _describe(trials: Sequence[Mapping[str, float]], *, frozen: bool) -> list[str]:
    waiting, loss, busy = ([own[name] / 100 for own in trials if name in own] for name in (WAITING, LOSS, GPU))
    if not waiting or not loss:
        return []
    limit = find_limit(statistics.median(waiting), statistics.median(loss))
    lines = [f"What limits the speed is {limit.describe(frozen=frozen)}."]
    if busy:
        lines.append(f"The GPUs were busy in {100 * statistics.median(busy):.0f} % of the time.")
    return lines


def describe_cost(spent: Mapping[str, float], price_per_hour: float | None) -> list[str]:
    """A sentence about the money; empty if there is no price.

    Args:
        spent: the study's attribute `SPENT`.
        price_per_hour: of one place for trials.
    """
    places, training = (spent.get(f"{name}_seconds", 0.0) / 3600 for name in ("place", "training"))
    if price_per_hour is None or not places:
        return []
    idle = max(0.0, places - training)
    cost, lost = (f"{price_per_hour * hours:.3g}" for hours in (places, idle))
    return [
        f"The search cost {cost}, of which {lost} ({100 * idle / places:.0f} %) while no trial trained: starts, the "
        "time between trials, and epochs that were lost."
    ]
