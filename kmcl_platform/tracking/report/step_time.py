"""What the report says about the time of a training step."""

import statistics
from collections.abc import Iterable, Mapping

from kmcl_platform.config.reports.step_limit import GPU, LOSS, WAITING, find_limit


def describe_step_time(metrics: Iterable[Mapping[str, float]], *, frozen: bool) -> list[str]:
    """Sentences about the medians over trials; empty if no trial has measured its steps.

    Args:
        metrics: of each trial, the last value of every metric.
        frozen: the backbone is not trained.
    """
    trials = list(metrics)
    waiting, loss, busy = ([own[name] / 100 for own in trials if name in own] for name in (WAITING, LOSS, GPU))
    if not waiting or not loss:
        return []
    limit = find_limit(statistics.median(waiting), statistics.median(loss))
    lines = [f"What limits the speed is {limit.describe(frozen=frozen)}."]
    if busy:
        lines.append(f"The GPUs were busy in {100 * statistics.median(busy):.0f} % of the time.")
    return lines
