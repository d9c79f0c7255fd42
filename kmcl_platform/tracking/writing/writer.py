"""Writer: a thread that takes a search's writes from its outbox to MLflow, in their order.

MLflow may be away for as long as it likes: the writer tries again, the search goes on, and the writes wait on the disk.
"""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kmcl_platform.config.reports.epoch_report import EpochReport
from kmcl_platform.config.store import Store
from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.errors import NoAnswerError
from kmcl_platform.tracking.database import check_answers
from kmcl_platform.tracking.database.store_errors import find_trouble
from kmcl_platform.tracking.runs.names import TrialOutcome
from kmcl_platform.tracking.runs.search_run import SearchRuns
from kmcl_platform.tracking.writing.outbox import Entry, Outbox

BATCH = 64
"""Entries taken from the outbox at a time; the epochs of one trial among them become one request."""
PAUSE_SECONDS = 5.0
"""Between two tries at a server that does not answer, beside MLflow's own retries."""


class Writer:
    """Empties an outbox.

    Attributes:
        trouble: why nothing can be written any more (a full disk), once it is so.
    """

    def __init__(self, store: Store, outbox: Outbox, runs: SearchRuns, say: Callable[[str], None]) -> None:
        """Begin with what the outbox holds.

        Args:
            store: where everything is kept.
            outbox: of the search.
            runs: MLflow's record of the search; this thread uses it until `close`, others only after a `flush`.
            say: tells the user that the server is away, and that it is back.
        """
        self.trouble: Exception | None = None
        self._store = store
        self._outbox = outbox
        self._runs = runs
        self._say = say
        self._changed = threading.Condition()
        self._closing = False
        self._hurry = False
        self._tries = 0
        self._failed: tuple[int, NoAnswerError] | None = None
        """The last try, if MLflow has taken nothing since, and what became of it."""
        self._thread = threading.Thread(target=self._run, name="mlflow-writer", daemon=True)
        self._thread.start()

    def notify(self) -> None:
        """The outbox has a new entry."""
        with self._changed:
            self._changed.notify_all()

    def flush(self) -> None:
        """Wait until MLflow has everything, or until a try that begins now has failed.

        Raises:
            StoreError: it cannot take it; what it has not taken stays in the outbox.
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
        """End the thread after the write that it is at."""
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
            except Exception as error:
                if not self._wait_after(error):
                    return

    def _wait_for_entries(self) -> bool:
        """Whether there is something to be written; not where the writer is to end."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing or len(self._outbox))
            return not self._closing

    def _empty(self) -> None:
        if self._failed:
            check_answers(self._store)  # which takes seconds, where MLflow's own retries take minutes
        while entries := self._outbox.peek(BATCH):
            for group in _group(entries):
                if self._closing:
                    return
                write_entries(self._runs, group)
                self._outbox.remove(group)
                with self._changed:
                    if self._failed:
                        self._failed = None
                        self._say("MLflow answers again")
                    self._changed.notify_all()

    def _wait_after(self, error: Exception) -> bool:
        """Whether another try may go better; returns when it is time for it."""
        trouble = find_trouble(error, self._store)
        with self._changed:
            if not isinstance(trouble, NoAnswerError):
                self.trouble = trouble or error
                self._changed.notify_all()
                return False
            problem = str(trouble).partition("; valid: ")[0]
            if not self._failed:
                self._say(f"{problem}; the search goes on, and what is to be written waits on the disk")
            self._failed = (
                self._tries,
                NoAnswerError(f"{problem}; valid: start it, then the same command writes down what waits on the disk"),
            )
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._closing or self._hurry, timeout=PAUSE_SECONDS)
        # What was known of a run may be half true after a write that broke off.
        self._runs.forget()
        return True


def write_entries(runs: SearchRuns, entries: list[Entry]) -> None:
    """Make one write, or that of several epochs of one trial; repeated, it changes nothing."""
    first = entries[0]
    content: dict[str, Any] = first.content
    match first.kind:
        case "begin":
            config = TrialConfig.model_validate(content["config"])
            runs.trials.begin(content["number"], config, baseline=content["baseline"], time_ms=first.time_ms)
        case "epoch":
            reports = [(EpochReport.model_validate(entry.content["report"]), entry.time_ms) for entry in entries]
            runs.trials.log_epochs(content["number"], reports)
        case "end":
            runs.trials.end(
                content["number"],
                TrialOutcome(content["outcome"]),
                content["reason"],
                objective=content["objective"],
                time_ms=first.time_ms,
            )
        case "progress":
            runs.log_progress(content["metrics"], step=content["step"], time_ms=first.time_ms)
        case "evidence":
            runs.trials.log_figures(content["number"], Path(content["folder"]))
        case _:
            raise AssertionError(f"no such write: {first.kind}")


def _group(entries: list[Entry]) -> list[list[Entry]]:
    """Entries in their order, neighbouring epochs of one trial together."""
    groups: list[list[Entry]] = []
    for entry in entries:
        last = groups[-1][-1] if groups else None
        if (
            last is not None
            and last.kind == entry.kind == "epoch"
            and last.content["number"] == entry.content["number"]
        ):
            groups[-1].append(entry)
        else:
            groups.append([entry])
    return groups
