"""The mailbox between a trial actor and its workers (see `worker_group.py`).

Everything in it has an identity, (trial's place in the queue, epoch), and is stored rather than handed over. A worker
that was killed while it waited therefore takes nothing with it: its successor reports the same epoch again, which is
not passed on twice, and gets the verdict that was meant for it.
"""

import asyncio
from typing import Any, NotRequired, TypedDict

import ray

MAX_STARTS_WITHOUT_PROGRESS = 3
"""Group starts that a trial may cause without finishing another epoch; then the trial is at fault and fails."""


class Assignment(TypedDict):
    """A trial, as it is sent to the workers; with `probe_steps` only so many steps of it, to learn what it costs."""

    number: int
    config: dict[str, Any]
    checkpoints: str
    data_dir: str
    working_dir: str
    probe_steps: NotRequired[int]


class Message(TypedDict, total=False):
    """What the workers say: a trial's epoch, why it failed, why no trial can go on, or what a probe measured."""

    report: dict[str, Any]
    failure: str
    trouble: str
    measurement: dict[str, Any]


class MailboxState:
    """The post office between a trial actor and its workers (the body of the actor `Mailbox`)."""

    def __init__(self, max_starts: int = MAX_STARTS_WITHOUT_PROGRESS) -> None:
        self._max_starts = max_starts
        self._changed = asyncio.Condition()
        self._assignments: list[Assignment] = []
        self._ended = -1
        self._closed = False
        self._outbox: list[Message] = []
        self._heard: set[tuple[int, int]] = set()
        self._verdicts: dict[tuple[int, int], bool] = {}
        self._starts = 0
        self._last_error = ""

    # The trial actor's side ---------------------------------------------------------------------------------------

    async def assign(self, assignment: Assignment) -> None:
        """Queue a trial; whatever the former one still says is no longer heard."""
        async with self._changed:
            self._ended = len(self._assignments) - 1
            self._assignments.append(assignment)
            self._outbox.clear()
            self._starts = 0
            self._changed.notify_all()

    async def next_message(self) -> Message:
        """Wait for what the workers say next of the current trial."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._outbox)
            return self._outbox.pop(0)

    async def go_on(self, epoch: int) -> None:
        """Let the current trial train on after an epoch."""
        async with self._changed:
            self._verdicts[len(self._assignments) - 1, epoch] = True
            self._changed.notify_all()

    async def close(self) -> None:
        """Send the workers home."""
        async with self._changed:
            self._closed = True
            self._changed.notify_all()

    # The workers' side --------------------------------------------------------------------------------------------

    async def first_place(self) -> int:
        """Where a group that starts begins: at the current trial if it is unfinished, else at the next one.

        A trial that keeps killing its group is failed here.
        """
        async with self._changed:
            place = max(0, len(self._assignments) - 1)
            if self._assignments and place > self._ended:
                self._starts += 1
                if self._starts > self._max_starts:
                    reason = self._last_error or "the worker processes died"
                    self._end(
                        place, {"failure": f"its workers were lost {self._starts - 1} times without progress: {reason}"}
                    )
            return place + 1 if place <= self._ended else place

    async def take(self, place: int) -> Assignment | None:
        """Wait for the trial at a place of the queue; none when the group is to end."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._closed or len(self._assignments) > place)
            return None if self._closed else self._assignments[place]

    async def report(self, place: int, report: dict[str, Any]) -> bool:
        """Hand in an epoch's report and wait for the verdict: go on (True) or stop."""
        key = (place, int(report["epoch"]))
        async with self._changed:
            if key not in self._heard and self._is_current(place):
                self._heard.add(key)
                self._outbox.append({"report": report})
                # A first start, or one after progress: the count begins anew.
                self._starts = 1
                self._changed.notify_all()
            await self._changed.wait_for(lambda: key in self._verdicts or not self._is_current(place))
            return self._verdicts.get(key, False)

    async def fail(self, place: int, reason: str) -> None:
        """Say that a trial cannot go on."""
        async with self._changed:
            self._end(place, {"failure": reason})

    async def measured(self, place: int, measurement: dict[str, Any]) -> None:
        """Hand in what a probe measured, which ends it."""
        async with self._changed:
            self._end(place, {"measurement": measurement})

    async def halt(self, place: int, reason: str) -> None:
        """Say that neither this trial nor another can go on for now; the trial is not at fault and stays open."""
        async with self._changed:
            if self._is_current(place):
                self._outbox.append({"trouble": reason})
                self._changed.notify_all()

    async def note_error(self, reason: str) -> None:
        """Remember why a worker is about to die."""
        self._last_error = reason

    def _end(self, place: int, last: Message) -> None:
        if self._is_current(place):
            self._ended = place
            self._outbox.append(last)
            self._changed.notify_all()

    def _is_current(self, place: int) -> bool:
        return not self._closed and place > self._ended and place == len(self._assignments) - 1


Mailbox = ray.remote(num_cpus=0)(MailboxState)
