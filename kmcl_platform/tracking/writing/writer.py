"""Writer: a thread that moves a search's writes from its outbox to MLflow, in their order.

While MLflow does not answer, the writer tries again without limit. The search continues, and the writes wait on disk.
"""

import threading
from collections.abc import Callable
from typing import Any

from kmcl_platform.config.reports.epoch_report import EpochReport
from kmcl_platform.config.store import Store
from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.errors import NoAnswerError
from kmcl_platform.tracking.database import check_answers, find_trouble
from kmcl_platform.tracking.figures.score_queue import ScoreQueue
from kmcl_platform.tracking.runs.names import TrialOutcome
from kmcl_platform.tracking.runs.search_run import SearchRuns
from kmcl_platform.tracking.writing.outbox import Entry, Outbox

BATCH = 512
"""Entries that are read from the outbox together. Epochs of one trial among them become one request: with many trials
at the same time, a few entries would have one epoch of each."""
PAUSE_SECONDS = 5.0
"""Time between two tries at a server that does not answer, in addition to MLflow's own retries."""
FIGURES = "figures"
"""The kind of the entry that logs a trial's figures."""
_OLDER_FIGURES = "evidence"
"""The same kind in the outbox of an older version."""


class Writer:
    """Moves the entries of an outbox to MLflow.

    Attributes:
        trouble: why nothing can be written any more, such as a full disk. None: writing is possible.
    """

    def __init__(
        self, store: Store, outbox: Outbox, scores: ScoreQueue, runs: SearchRuns, say: Callable[[str], None]
    ) -> None:
        """Begin with the entries that are in the outbox.

        Args:
            store: where everything is kept.
            outbox: the search's outbox.
            scores: the search's queue of scores, for the folders of figures.
            runs: MLflow's record of the search. This thread uses it until `close`, other threads only after `flush`.
            say: shows one line to the user: the server does not answer, or it answers again.
        """
        self.trouble: Exception | None = None
        self._store = store
        self._outbox = outbox
        self._scores = scores
        self._runs = runs
        self._say = say
        self._changed = threading.Condition()
        self._closing = False
        self._hurry = False
        """Whether `flush` waits. The pause between two tries is then left out."""
        self._tries = 0
        """Number of tries. `flush` raises the error of a try that began after it: an older one may be out of date."""
        self._failed: tuple[int, NoAnswerError] | None = None
        """Number of the last try that failed, and its error. None: MLflow has accepted a write after it."""
        self._thread = threading.Thread(target=self._run, name="mlflow-writer", daemon=True)
        self._thread.start()

    def notify(self) -> None:
        """Wake the thread: the outbox has a new entry."""
        with self._changed:
            self._changed.notify_all()

    def flush(self) -> None:
        """Wait until MLflow has all entries, or until a try that begins after this call has failed.

        Raises:
            StoreError: MLflow cannot take them. They stay in the outbox.
        """
        with self._changed:
            begun = self._tries
            self._hurry = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self.trouble or self._failed_since(begun) or not len(self._outbox))
            self._hurry = False
            if len(self._outbox):
                raise self.trouble or self._failed_since(begun) or AssertionError("nothing to stop waiting for")

    def close(self) -> None:
        """End the thread after its current write."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()

    def _failed_since(self, begun: int) -> NoAnswerError | None:
        return self._failed[1] if self._failed and self._failed[0] > begun else None

    def _run(self) -> None:
        while self._wait_for_entries():
            self._tries += 1
            try:
                self._empty()
            # All errors are caught: an error that ended the thread would let `flush` wait forever.
            except Exception as error:
                # No later try can succeed. The entries stay on disk, and `flush` and the recorder raise `trouble`.
                if not self._wait_after(error):
                    return

    def _wait_for_entries(self) -> bool:
        """Wait for an entry; False: the writer must end."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing or len(self._outbox))
            return not self._closing

    def _empty(self) -> None:
        if self._failed:
            check_answers(self._store)  # It takes seconds; MLflow's own retries take minutes.
        while entries := self._outbox.peek(BATCH):
            for group in _group(entries):
                # `close` waits for one write at most.
                if self._closing:
                    return
                # If the process is killed between these two calls, its successor makes the write again, which changes
                # nothing.
                write_entries(self._runs, group, self._scores)
                self._outbox.remove(group)
                # `flush` waits for an empty outbox, or for a try that fails.
                with self._changed:
                    if self._failed:
                        self._failed = None
                        self._say("MLflow answers again")
                    self._changed.notify_all()

    def _wait_after(self, error: Exception) -> bool:
        """Whether another try may succeed; returns when it is time for it."""
        trouble = find_trouble(error, self._store)
        with self._changed:
            if not isinstance(trouble, NoAnswerError):
                self.trouble = trouble or error
                self._changed.notify_all()
                return False
            # The advice after "valid:" is for a search that has ended. This one continues.
            problem = str(trouble).partition("; valid: ")[0]
            if not self._failed:
                self._say(f"{problem}; the search continues, and its writes wait on disk")
            self._failed = (
                self._tries,
                NoAnswerError(f"{problem}; valid: start it, then the same command makes the writes that wait on disk"),
            )
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._closing or self._hurry, timeout=PAUSE_SECONDS)
        # An interrupted write may have changed a run, so the data of the runs may be out of date.
        self._runs.forget()
        return True


def is_figures(entry: Entry) -> bool:
    """Whether an entry logs a trial's figures."""
    return entry.kind in (FIGURES, _OLDER_FIGURES)


def write_entries(runs: SearchRuns, entries: list[Entry], scores: ScoreQueue) -> None:
    """Make one write, or the write of several epochs of one trial; to repeat it changes nothing.

    Args:
        runs: MLflow's record of the search.
        entries: one entry, or several epochs of one trial.
        scores: the search's queue of scores, which has the folders of figures. An entry has no path: a store may be
            moved while writes wait.
    """
    first = entries[0]
    content: dict[str, Any] = first.content
    match first.kind:
        # Times are those of the entries. So MLflow shows when something happened, and a repeated write gives equal
        # metrics, of which MLflow keeps one.
        case "begin":
            config = TrialConfig.from_record(content["config"])
            runs.trials.begin(
                content["number"],
                config,
                baseline=content["baseline"],
                # An entry of an older version has no name.
                baseline_name=content.get("baseline_name", ""),
                source=content.get("source", ""),
                time_ms=first.time_ms,
            )
        case "epoch":
            reports = [(EpochReport.model_validate(entry.content["report"]), entry.time_ms) for entry in entries]
            runs.trials.log_epochs(content["number"], reports)
        case "end":
            runs.trials.end(
                content["number"],
                TrialOutcome(content["outcome"]),
                content["reason"],
                objective=content["objective"],
                costs=content.get("costs"),
                time_ms=first.time_ms,
            )
        case "progress":
            runs.log_progress(content["metrics"], step=content["step"], time_ms=first.time_ms)
        # The second name is in outboxes of older versions.
        case "figures" | "evidence":
            runs.trials.log_figures(content["number"], scores.figures(content["number"]))
        case _:
            raise AssertionError(f"no such write: {first.kind}")


def _group(entries: list[Entry]) -> list[list[Entry]]:
    """Entries in their order. Epochs of a trial that follow one another are one group, at the place of the first one.

    Entries of other trials between them do not matter: no write depends on those of another trial.
    """
    groups: list[list[Entry]] = []
    # The last group of each trial. The search's own progress has no number.
    last: dict[int | None, list[Entry]] = {}
    for entry in entries:
        number = entry.content.get("number")
        former = last.get(number)
        if former is not None and former[-1].kind == entry.kind == "epoch":
            former.append(entry)
        else:
            last[number] = [entry]
            groups.append(last[number])
    return groups
