"""The mailbox between a trial actor and its workers (see `worker_group.py`).

Everything in it has an identity (the trial's place in the queue, the epoch) and stays stored. So nothing is lost with a
worker that is killed while it waits. The worker that replaces it reports the same epoch again. That report is not
passed on twice, and the worker gets the decision that was made for the epoch.
"""

import asyncio
from typing import Any

import ray

from kmcl_platform.messages import count_of
from kmcl_platform.search.run.assignment import Assignment, Message

MAX_STARTS_WITHOUT_PROGRESS = 3
"""How often a trial may cause a new start of its group without another checkpoint; after that it fails."""


class MailboxState:
    """Stores messages between a trial actor and its workers; the Ray actor `Mailbox` is made of this class."""

    def __init__(self, max_starts: int = MAX_STARTS_WITHOUT_PROGRESS) -> None:
        self._max_starts = max_starts
        # One condition for all waits: an actor runs its methods in one event loop, and only a few calls wait.
        self._changed = asyncio.Condition()
        self._assignments: list[Assignment] = []
        # The place of the last trial that has ended.
        self._ended = -1
        self._closed = False
        self._outbox: list[Message] = []
        self._received: set[tuple[int, int]] = set()
        # For each place the last epoch after which the trial may continue. "Stop" is not stored: it follows from the
        # next assignment, or from `close`.
        self._continued: dict[int, int] = {}
        # Starts of the group since the current trial began, or last wrote a checkpoint.
        self._starts = 0
        self._last_error = ""

    # The trial actor's side ---------------------------------------------------------------------------------------

    async def assign(self, assignment: Assignment) -> None:
        """Queue a trial; later messages of the trial before it are dropped."""
        async with self._changed:
            # This also ends the former trial if the driver has stopped it: its workers wait in `report`, and stop.
            self._ended = len(self._assignments) - 1
            self._assignments.append(assignment)
            self._outbox.clear()
            self._starts = 0
            self._changed.notify_all()

    async def next_message(self) -> Message:
        """Wait for the next message of the current trial's workers."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._outbox)
            return self._outbox.pop(0)

    async def go_on(self, epoch: int) -> None:
        """Let the current trial continue after an epoch."""
        async with self._changed:
            self._continued[len(self._assignments) - 1] = epoch
            self._changed.notify_all()

    async def close(self) -> None:
        """Let the workers end."""
        async with self._changed:
            self._closed = True
            self._changed.notify_all()

    # The workers' side --------------------------------------------------------------------------------------------

    async def first_place(self) -> int:
        """The place in the queue at which a new group begins: the current trial if it has not ended, else the next.

        A trial whose group was started too often without progress fails here.
        """
        async with self._changed:
            # Before the first assignment, the group waits for place 0.
            place = max(0, len(self._assignments) - 1)
            # The current trial is open, so a former group may have died in it. Each start counts, also the first one.
            if self._assignments and place > self._ended:
                self._starts += 1
                if self._starts > self._max_starts:
                    reason = self._last_error or "the worker processes died"
                    losses = count_of(self._starts - 1, "time")
                    self._end(place, {"failure": f"its workers were lost {losses} without progress: {reason}"})
            return place + 1 if place <= self._ended else place

    async def take(self, place: int) -> Assignment | None:
        """Wait for the trial at a place in the queue; None: the group must end."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._closed or len(self._assignments) > place)
            if self._closed:
                return None
            # A group that was ready before the trial counts as its first start.
            if place == len(self._assignments) - 1:
                self._starts = max(1, self._starts)
            return self._assignments[place]

    async def report(self, place: int, reports: list[dict[str, Any]]) -> bool:
        """Send the reports of one or more epochs, and wait for the decision after the last one.

        Returns:
            True: continue; False: stop.
        """
        last = int(reports[-1]["epoch"])
        async with self._changed:
            new = [report for report in reports if (place, report["epoch"]) not in self._received]
            if new and self._is_current(place):
                self._received |= {(place, report["epoch"]) for report in new}
                self._outbox.append({"report": new[-1], "earlier": new[:-1]})
                # The trial has made progress, so the count of starts begins again.
                self._starts = 1
                self._changed.notify_all()
            # A repeated report of a decided epoch returns at this line without waiting.
            await self._changed.wait_for(lambda: self._continued.get(place, 0) >= last or not self._is_current(place))
            return self._continued.get(place, 0) >= last

    async def note_progress(self, place: int) -> None:
        """Note that a trial has a new checkpoint within its epoch: the count of starts begins again."""
        async with self._changed:
            if self._is_current(place):
                self._starts = 1

    async def fail(self, place: int, reason: str, out_of_memory: bool = False) -> None:
        """End a trial that failed."""
        async with self._changed:
            self._end(place, {"failure": reason, **({"out_of_memory": True} if out_of_memory else {})})

    async def refuse(self, place: int, costs: dict[str, float]) -> None:
        """End a trial whose model costs too much."""
        async with self._changed:
            self._end(place, {"refused": costs})

    async def diverge(self, place: int, reason: str) -> None:
        """End a trial that diverged."""
        async with self._changed:
            self._end(place, {"diverged": reason})

    async def measured(self, place: int, measurement: dict[str, Any]) -> None:
        """Send the measurement of a probe, which ends the probe."""
        async with self._changed:
            self._end(place, {"measurement": measurement})

    async def halt(self, place: int, reason: str) -> None:
        """Report that no trial can continue for now; this trial is not the cause and stays open."""
        async with self._changed:
            # `_ended` does not change: the trial stays open, and its workers may take it again.
            if self._is_current(place):
                self._outbox.append({"trouble": reason})
                self._changed.notify_all()

    async def note_error(self, reason: str) -> None:
        """Remember the error with which a worker ends."""
        # Without the condition: nothing waits for this text.
        self._last_error = reason

    def _end(self, place: int, last: Message) -> None:
        # A late message of a worker whose trial has ended must not end the next trial.
        if self._is_current(place):
            self._ended = place
            self._outbox.append(last)
            self._changed.notify_all()

    def _is_current(self, place: int) -> bool:
        return not self._closed and place > self._ended and place == len(self._assignments) - 1


# It only waits, so it takes no CPU from the workers.
Mailbox = ray.remote(num_cpus=0)(MailboxState)
