"""A leaderboard as text: JSON for programs, a table for a terminal."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table

from kmcl_platform.config.space.aims import BREAKS
from kmcl_platform.messages import reason_line, shell_command
from kmcl_platform.tracking.comparison.baselines import compare_leaderboard
from kmcl_platform.tracking.comparison.finalists import FinalistResults, read_finalists
from kmcl_platform.tracking.runs.leaderboard import Leaderboard, LeaderboardRow
from kmcl_platform.tracking.runs.names import TrialOutcome


def to_json(leaderboard: Leaderboard) -> str:
    """The leaderboard as JSON; the keys are the names of the fields, in their order, and `comparison`."""
    comparison = compare_leaderboard(leaderboard)
    tree = asdict(leaderboard)
    # The comparison has it, with the trials that it is about.
    del tree["baseline_verdict"]
    tree["comparison"] = comparison and asdict(comparison) | {"difference": comparison.difference}
    finalists = read_finalists(leaderboard)
    tree["finalists"] = finalists and asdict(finalists)
    tree["front"] = [row.number for row in leaderboard.front()]
    return json.dumps(tree, indent=2, ensure_ascii=False, allow_nan=False)


class TrialsTable:
    """A leaderboard as a table that fits the terminal. No number is broken over two lines."""

    def __init__(self, leaderboard: Leaderboard) -> None:
        self._leaderboard = leaderboard

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """A column for each searched value if there is room, else one column for all of them."""
        table = to_table(self._leaderboard)
        needed = Measurement.get(console, options.update(max_width=_ANY_WIDTH), table).maximum
        yield table if needed <= options.max_width else to_table(self._leaderboard, narrow=True)


_ANY_WIDTH = 10_000
"""Wider than every table."""


def to_table(leaderboard: Leaderboard, *, narrow: bool = False) -> Table:
    """The leaderboard with rounded values; `to_json` has the exact ones.

    Args:
        leaderboard: the trials.
        narrow: write the searched values into one column, which breaks between values.
    """
    table = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    for header in ("#", "trial", "outcome", leaderboard.metric, *leaderboard.aims, "epochs", "train\n(s)"):
        table.add_column(header, no_wrap=True, justify="left" if header == "outcome" else "right")
    # Seconds on different devices cannot be compared.
    if leaderboard.has_several_devices:
        table.add_column("on")
    names = _short_names(leaderboard.paths)
    if narrow:
        table.add_column("values", overflow="fold")
    for header in [] if narrow else names:
        # The columns of values are narrow, and their names may break after an underscore.
        table.add_column(header.replace("_", "_\n"), no_wrap=True, justify="right")
    for row in leaderboard.rows:
        values = [shown_value(row, path) for path in leaderboard.paths]
        if narrow:
            # Without a space a name and its value stay on one line.
            pairs = zip(names, values, strict=True)
            values = [", ".join(f"{name}={value}" for name, value in pairs if value != UNUSED)]
        table.add_row(
            "★" if row.rank == 1 else str(row.rank or ""),
            f"{'warm' if row.source else _short_name(row.baseline_name)} {row.number}".strip(),
            row.ending,
            "" if row.objective is None else f"{row.objective:.4f}",
            *(f"{row.aims[name]:.4g}" if name in row.aims else "" for name in leaderboard.aims),
            f"{row.epochs}/{leaderboard.num_epochs}",
            f"{row.wall_seconds:.0f}",
            *([row.device] if leaderboard.has_several_devices else []),
            *values,
            style="bold" if row.rank == 1 else "dim" if row.rank is None else None,
        )
    return table


_MOST_REASONS = 5


def reason_lines(leaderboard: Leaderboard) -> list[str]:
    """Why trials failed, diverged or were refused: a line for each reason, with its trials; the most frequent first."""
    trials: dict[tuple[str, str], list[int]] = {}
    for row in leaderboard.rows:
        if (row.is_refused or row.outcome in (TrialOutcome.FAILED, TrialOutcome.DIVERGED)) and row.reason:
            # Each refused trial has a value of its own, which the table shows.
            reason = f"broke {row.reason.partition(BREAKS)[2]}" if row.is_refused else row.reason
            trials.setdefault((row.ending, reason_line(reason)), []).append(row.number)
    lines = []
    for (outcome, reason), numbers in sorted(trials.items(), key=lambda one: (-len(one[1]), one[1])):
        more = f" and {len(numbers) - 8} more" if len(numbers) > 8 else ""
        shown = ", ".join(map(str, sorted(numbers)[:8]))
        lines.append(f"{outcome}: {'trial' if len(numbers) == 1 else 'trials'} {shown}{more}: {reason}")
    if len(lines) > _MOST_REASONS:
        lines[_MOST_REASONS:] = [f"{len(lines) - _MOST_REASONS} more reasons: kmcl leaderboard --json has all"]
    return lines


def front_lines(leaderboard: Leaderboard) -> list[str]:
    """The trade-offs of several objectives, a line each; empty: the search has one objective, or no trial has ended."""
    rows = leaderboard.front()
    if not rows:
        return []
    lines = [f"trade-offs between {', '.join(leaderboard.objectives)} (kmcl promote {leaderboard.search} --trial N):"]
    for row in rows:
        others = ", ".join(f"{name} {row.aims[name]:.4g}" for name in list(leaderboard.objectives)[1:])
        lines.append(f"  trial {row.number}: {leaderboard.metric} {row.objective:.4f}, {others}")
    cost = next((name for name, mode in list(leaderboard.objectives.items())[1:] if mode == "minimize"), None)
    if cost and (bound := _bound_between(rows[-1].aims[cost], rows[0].aims[cost])):
        example = shell_command(["kmcl", "promote", leaderboard.search, "--prefer", f"{cost}<{bound}"])
        lines.append(f"kmcl promote takes the first of them; the best one that keeps a bound: {example}")
    return lines


def _bound_between(low: float, high: float) -> str:
    """A short number that a cost of `low` keeps and one of `high` breaks; empty: there is none."""
    wanted = min(1.1 * low, (low + high) / 2)
    short = (f"{float(f'{wanted:.{digits}g}'):g}" for digits in range(2, 7))
    return next((text for text in short if low < float(text) < high), "")


UNUSED = "-"
"""Shown for a value that has no effect in its trial."""


def shown_value(row: LeaderboardRow, path: str) -> str:
    """A searched value of a trial, rounded; `UNUSED` if only kernel terms use it, and the trial has none."""
    return _rounded(row.values[path]) if row.uses(path) else UNUSED


def finalists_table(finalists: FinalistResults) -> Table:
    """The finalists for a terminal, the best first."""
    table = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    for header in ("finalist", f"own {finalists.metric}", "mean", "deviation", "seeds"):
        table.add_column(header, no_wrap=True, justify="left" if header == "finalist" else "right")
    for one in finalists.trials:
        numbers = ("" if value is None else f"{value:.4f}" for value in (one.own, one.mean, one.deviation))
        table.add_row(str(one), *numbers, f"{one.finished}/{finalists.num_seeds}")
    return table


def _short_names(paths: Sequence[str]) -> list[str]:
    """The last part of each path, with the part before it if two would be equal."""
    last = Counter(path.rpartition(".")[2] for path in paths)
    return [".".join(path.split(".")[-(1 if last[path.rpartition(".")[2]] == 1 else 2) :]) for path in paths]


def _short_name(name: str) -> str:
    # The table has to fit 100 columns.
    return name if len(name) <= 12 else f"{name[:11]}…"


def _rounded(value: str) -> str:
    try:
        # Whole numbers stay as they are: rounding would change a seed or a size.
        return f"{float(value):.3g}" if "." in value or "e" in value else value
    except ValueError:
        return value
