"""A replay as text for a terminal, and as JSON."""

import json
import math
from typing import Any

import numpy as np
from rich.markup import escape
from rich.table import Table

from kmcl_platform.search.replay.replay import Outcome, Replay
from kmcl_platform.search.replay.statistics import median_with_interval, quantile_of_searches, share_better

FEW_TRIALS = 50
"""Below it, a warning: most points of a simulated search are not in the archive."""


def describe_archive(replay: Replay) -> list[str]:
    """What the simulation knows, and how well."""
    quality = replay.quality
    order = "not known, as all trials end equal" if quality.order is None else f"Kendall's tau {quality.order:.2f}"
    trials = f"{replay.num_trials} trials of this space"
    if replay.num_used < replay.num_trials:
        trials += f", of which {replay.num_used} have the file's seed and are used,"
    lines = [
        f"archive: {trials} on {replay.dataset}; {replay.skipped} others are not of it",
        "curves of other points: a Gaussian process; the last value of a trial that is left out is predicted with a "
        f"median error of {quality.error:.4f} (order: {order})",
    ]
    if replay.num_used < FEW_TRIALS:
        lines.append(
            f"{replay.num_used} trials are few: most points have guessed curves, and what is found may lie above every "
            "trial of the archive"
        )
    if quality.noise is None:
        lines.append("noise between seeds: not known, because no point was trained on several seeds; none is added")
    else:
        added = "" if quality.adds_noise else "; none is added, because all curves are of the file's own seed"
        lines.append(
            f"noise between seeds: standard deviation {quality.noise:.4f}, from {quality.points_with_seeds} points"
            f"{added}"
        )
    return lines


def summarise(replay: Replay, outcome: Outcome) -> dict[str, Any]:
    """The numbers of one setting: medians over its searches, and quartiles of the best value."""
    finals = outcome.finals()
    low, middle, high = (quantile_of_searches(finals, share, replay.sign) for share in (0.25, 0.5, 0.75))
    reached = replay.epochs_to_target(outcome)
    to_target = median_with_interval(reached)
    own = replay.outcomes[0].finals()
    return {
        "setting": outcome.name,
        "best": middle,
        "quartiles": [low, high],
        "epochs": float(np.median([one.total_epochs for one in outcome.searches])),
        "hours": float(np.median([one.total_seconds for one in outcome.searches])) / 3600,
        "best_at_own_epochs": quantile_of_searches(outcome.best_at(_own_epochs(replay)), 0.5, replay.sign),
        "epochs_to_target": _finite(to_target[0]),
        "epochs_to_target_interval": [_finite(to_target[1]), _finite(to_target[2])],
        "share_better_than_own": share_better(finals, own, replay.sign),
        "regret": float(np.mean([one.regret for one in outcome.searches])),
        "best_of_each_search": [_finite(value) for value in finals],
        "epochs_to_target_of_each_search": [_finite(value) for value in reached],
    }


def column_names(replay: Replay) -> list[str]:
    """The columns of the table, for a terminal and for the page."""
    own, target = f"at {_own_epochs(replay):.0f} epochs", f"epochs to {_shown(replay.target)}"
    return ["setting", f"best {replay.metric}", "quartiles", "epochs", "hours", own, target, "regret", "wins"]


def cells(replay: Replay, outcome: Outcome) -> list[str]:
    """The line of one setting."""
    one = summarise(replay, outcome)
    to_target = one["epochs_to_target"]
    interval = " to ".join(map(_epochs, one["epochs_to_target_interval"]))
    return [
        outcome.name,
        _shown(one["best"]),
        " to ".join(map(_shown, one["quartiles"])),
        f"{one['epochs']:.0f}",
        f"{one['hours']:.3g}",
        _shown(one["best_at_own_epochs"]),
        "never" if to_target is None else f"{to_target:.0f} ({interval})",
        f"{one['regret']:.4f}",
        "" if outcome is replay.outcomes[0] else f"{one['share_better_than_own']:.0%}",
    ]


def to_table(replay: Replay) -> Table:
    """One line for each setting."""
    table = Table(box=None, show_edge=False)
    setting, *others = column_names(replay)
    table.add_column(setting, overflow="fold")
    for name in others:
        table.add_column(name, justify="right")
    for outcome in replay.outcomes:
        table.add_row(*map(escape, cells(replay, outcome)))
    return table


def to_json(replay: Replay) -> str:
    """The same numbers for programs."""
    document = {
        "search": replay.search,
        "metric": replay.metric,
        "searches": len(replay.outcomes[0].searches),
        "at_once": replay.at_once,
        "archive": {"trials": replay.num_trials, "dataset": replay.dataset, "skipped": replay.skipped},
        "surrogate": {
            "error": replay.quality.error,
            "order": replay.quality.order,
            "noise": replay.quality.noise,
            "points_with_seeds": replay.quality.points_with_seeds,
            "adds_noise": replay.quality.adds_noise,
        },
        "target": replay.target,
        "settings": [summarise(replay, outcome) for outcome in replay.outcomes],
    }
    return json.dumps(document, indent=1, allow_nan=False)


EXPLANATION = (
    "best: median over the simulated searches. at … epochs: the best value then; in half of the file's own "
    "searches the last trials still run. epochs to …: what random search reaches without early stopping; the "
    "epochs of all trials until the median search has it, with the 95 % interval of this median. regret: by how "
    "much a stopped trial would have been better than the best one, on average. wins: the share of searches that "
    "end better than the file's own with the same chance; 50 % is no difference. A search in which no trial "
    "completes is worse than all others; -: such a search."
)


def _own_epochs(replay: Replay) -> float:
    """The length of the file's own search: the median."""
    return float(np.median([one.total_epochs for one in replay.outcomes[0].searches]))


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _epochs(value: float | None) -> str:
    return "never" if value is None else f"{value:.0f}"


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
