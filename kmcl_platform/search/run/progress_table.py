"""The output of a running search: a live table on a terminal or in a notebook; elsewhere, a line for each event."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from kmcl_platform.config.reports.epoch_report import EpochReport
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.space.aims import BREAKS
from kmcl_platform.search.run.notebook_console import NotebookConsole


@dataclass
class _Running:
    epoch: int
    value: float | None = None
    started: float = field(default_factory=time.monotonic)


class SearchView:
    """Counts trials and shows them; it decides nothing."""

    def __init__(
        self,
        file: SearchFile,
        console: Console,
        ends: Mapping[int, str],
        best: float | None,
        comparison: str = "",
        money: Callable[[], float | None] = lambda: None,
    ) -> None:
        """
        Args:
            file: the search.
            console: where it is shown.
            ends: by number, how each trial ended that an earlier start of the search has run.
            best: the best value so far; None: no trial has completed.
            comparison: the best trial compared with the best baseline; empty: no baseline has completed.
            money: returns what the search has cost so far; None: there is no price.
        """
        self._money = money
        self._file = file
        self._console = console
        self._ends = dict(ends)
        self._best = best
        self._comparison = comparison
        self._running: dict[int, _Running] = {}
        self._ended_now = 0
        self._started = time.monotonic()
        # Drawn again after each event only. Transient: at the end the table goes away, and the printed lines stay.
        self._live: Live | NotebookConsole | None = None
        if isinstance(console, NotebookConsole):
            self._live = console
        elif console.is_terminal:
            self._live = Live(console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> "SearchView":
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def say(self, text: str) -> None:
        """Print a line above the live table."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def trial_started(self, number: int, reached: int, source: str = "") -> None:
        """Show a trial that was given to the workers; it continues after `reached` epochs, from 0.

        `source`: the trial of an earlier search that had its point; empty: none.
        """
        self._running[number] = _Running(epoch=reached)
        if reached:
            self.say(f"trial {number}: goes on after epoch {reached}")
        elif source:
            self.say(f"trial {number}: begins with the values of {source}")
        self._refresh()

    def epoch_finished(self, number: int, report: EpochReport, value: float) -> None:
        """Show the report of an epoch."""
        running = self._running.setdefault(number, _Running(epoch=0))
        running.epoch, running.value = report.epoch, value
        self._refresh()

    def trial_ended(
        self, number: int, end: str, reason: str, value: float | None, best: float | None, comparison: str = ""
    ) -> None:
        """Show a trial that has ended: how (`TrialEnd`), why, its value.

        `best` and `comparison` are those of the search, as for `__init__`.
        """
        running = self._running.pop(number, None)
        self._ends[number] = end
        self._best = best
        self._comparison = comparison
        self._ended_now += 1
        seconds = time.monotonic() - running.started if running else 0.0
        score = "" if value is None else f" {self._file.objective.metric} {value:.4f}"
        label = {"completed": "finished", "pruned": "stopped", "failed": "FAILED", "diverged": "DIVERGED"}[end]
        if end == "pruned" and BREAKS in reason:
            label = "refused"
        # The verdict of early stopping would be too long for the line; what a model costs is no verdict.
        told = end in ("failed", "diverged") or (end == "pruned" and value is None)
        detail = f" ({reason})" if told and reason else ""
        epochs = f" after {running.epoch} of {self._file.base.num_epochs} epochs" if running else ""
        ending = f"{epochs}{',' if score else ''}{score} in {seconds:.0f} s{detail}"
        self.say(f"trial {number:>3} {label}{ending}   {self._summary()}")
        self._refresh()

    def _summary(self) -> str:
        ended = len(self._ends)
        best = "-" if self._best is None else f"{self._best:.4f}"
        # Negative if the budget was lowered after these trials had ended.
        left = self._file.budget.trials - ended
        end = f"{self._time_left(left)}{self._cost()}"
        return f"[{ended}/{self._file.budget.trials} done, best {best}, {left} left, {end}]"

    def _cost(self) -> str:
        money, bound = self._money(), self._file.budget.money
        if money is None:
            return ""
        return f", cost {money:.3g}" if bound is None else f", cost {money:.3g} of {bound:g}"

    def _time_left(self, trials_left: int) -> str:
        if not self._ended_now:
            return "time left unknown"
        # Wall time for each trial that this start has ended: trials at the same time, and stopped ones, are in it.
        seconds = (time.monotonic() - self._started) / self._ended_now * max(trials_left, 0)
        return f"about {seconds / 60:.0f} min left" if seconds >= 90 else f"about {seconds:.0f} s left"

    def _refresh(self) -> None:
        if self._live:
            self._live.update(self._table(), refresh=True)

    def _table(self) -> Group:
        counts = Counter(self._ends.values())
        head = Text(
            f"{self._file.name}: {counts['completed']} finished · {counts['pruned']} stopped · "
            f"{counts['failed'] + counts['diverged']} failed · {len(self._running)} running   {self._summary()}"
        )
        rows = Table(box=None, show_header=False, padding=(0, 1))
        for number, running in sorted(self._running.items()):
            value = "starting" if running.value is None else f"{self._file.objective.metric} {running.value:.4f}"
            total = self._file.base.num_epochs
            rows.add_row(
                f"trial {number}", ProgressBar(total, running.epoch, width=24), f"{running.epoch}/{total}", value
            )
        return Group(head, *([Text(self._comparison)] if self._comparison else []), rows)
