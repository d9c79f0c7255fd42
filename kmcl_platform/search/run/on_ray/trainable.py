"""The Tune trainable: one `step()` is one epoch of a trial, trained by a worker group that outlives the trial."""

import threading
import time
from typing import Any

from ray import tune

from kmcl_platform.config.search_parts import Resources
from kmcl_platform.search.run.assignment import Assignment
from kmcl_platform.search.run.on_ray import turns
from kmcl_platform.search.run.on_ray.worker_group import WorkerGroup

IDLE_SECONDS = 60.0
"""How long workers wait for their next trial. Then they end, and other searches can use the CPUs and GPUs."""


class WarmTrial(tune.Trainable):
    """The actor of a trial, which passes messages between Tune and the workers.

    With `reuse_actors=True`, Tune calls `setup` once for each actor and `reset_config` for each later trial.

    The configuration that Tune passes has `assignment` (see `Assignment`), `resources` (of the search file) and
    `turn_seconds` (see `turns.py`). A result is a `Message` with `done`. A trial that fails is a result and not an
    exception: after an exception Tune would replace the actor, and with it the group that has just been started.
    """

    _group: WorkerGroup
    _alone: bool
    _is_closed: bool
    _began: float
    """When the workers sent their first message; 0: they have not."""

    def setup(self, config: dict[str, Any]) -> None:
        """Start the worker group and give it its first trial."""
        self._resources = Resources.model_validate(config["resources"])
        self._note = ""
        self._lock = threading.Lock()
        self._idle = threading.Timer(IDLE_SECONDS, self._release)
        self._start_group(alone=False)
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Give the group its next trial."""
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Wait for the next epoch's report."""
        self._idle.cancel()
        if self._has_ended():
            # Tune took so long with the last report. The trial goes on from its checkpoint.
            self._start_group(alone=self._alone)
            self._group.begin(self._assignment)
        result = self._next_result()
        # Tune may end the trial after each result, without a word to this actor.
        self._idle = threading.Timer(IDLE_SECONDS, self._release)
        self._idle.daemon = True
        self._idle.start()
        return result

    def _next_result(self) -> dict[str, Any]:
        if self._note:
            note, self._note = self._note, ""
            return {"note": note, "done": False}
        message = self._group.next_message()
        # Not when they were asked for: they may have waited for another search.
        self._began = self._began or time.monotonic()
        if message.get("out_of_memory") and 0 < self._resources.gpus_per_worker < 1 and not self._alone:
            # Perhaps the other trials on its GPU took what it needs: that is not the fault of its values.
            self._replace_group(alone=True)
            self._group.begin(self._assignment)
            return {"note": f"{message['failure']}; it is tried once more, alone on a GPU", "done": False}
        # After these messages the workers send nothing more for this trial: another `step` would wait forever.
        ended = "report" not in message or message["report"]["epoch"] == self._num_epochs
        return {**message, "done": ended}

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        """Write nothing: the workers write the trial's checkpoints themselves."""
        return {}

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        """Read nothing: the workers continue from the trial's own folder."""

    def cleanup(self) -> None:
        """End the worker group."""
        self._idle.cancel()
        self._release()

    def _begin(self, config: dict[str, Any]) -> None:
        self._assignment: Assignment = config["assignment"]
        self._num_epochs = int(self._assignment["config"]["num_epochs"])
        self._idle.cancel()
        if self._alone or self._has_ended():
            self._release()
        elif self._began and time.monotonic() - self._began >= config["turn_seconds"] and (claim := turns.find_claim()):
            ended = time.monotonic()
            self._release()
            turns.wait_for_turn(claim)
            self._note = turns.describe(time.monotonic() - ended)
        if self._has_ended():
            self._start_group(alone=False)
        self._group.begin(self._assignment)

    def _replace_group(self, *, alone: bool) -> None:
        """Start other workers: with a whole GPU, for which they wait, or with the share of the search file."""
        self._release()
        self._start_group(alone=alone)

    def _has_ended(self) -> bool:
        # While the timer ends the workers, this waits.
        with self._lock:
            return self._is_closed

    def _release(self) -> None:
        """End the workers, which frees their CPUs and GPUs; safe to repeat."""
        # The timer of an idle group has a thread of its own, and the next trial may come at the same moment.
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                self._group.close()

    def _start_group(self, *, alone: bool) -> None:
        self._alone = alone
        self._began = 0.0
        self._is_closed = False
        whole = {"gpus_per_worker": 1.0} if alone else {}
        self._group = WorkerGroup(self._resources.model_copy(update=whole))
