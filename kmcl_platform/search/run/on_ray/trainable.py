"""The Tune trainable: one `step()` is one epoch of a trial, trained by a worker group that outlives the trial."""

from typing import Any

from ray import tune

from kmcl_platform.config.search_parts import Resources
from kmcl_platform.search.run.assignment import Assignment
from kmcl_platform.search.run.on_ray.worker_group import WorkerGroup


class WarmTrial(tune.Trainable):
    """The actor of a trial, which passes messages between Tune and the workers.

    With `reuse_actors=True`, Tune calls `setup` once for each actor and `reset_config` for each later trial.

    The configuration that Tune passes has `assignment` (see `Assignment`) and `resources` (of the search file). A
    result is a `Message` with `done`. A trial that fails is a result and not an exception: after an exception Tune
    would replace the actor, and with it the group that has just been started.
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Start the worker group and give it its first trial."""
        self._resources = Resources.model_validate(config["resources"])
        self._alone = False
        self._group = WorkerGroup(self._resources)
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Give the group its next trial."""
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Wait for the next epoch's report."""
        message = self._group.next_message()
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
        self._group.close()

    def _begin(self, config: dict[str, Any]) -> None:
        self._assignment: Assignment = config["assignment"]
        self._num_epochs = int(self._assignment["config"]["num_epochs"])
        if self._alone:
            self._replace_group(alone=False)
        self._group.begin(self._assignment)

    def _replace_group(self, *, alone: bool) -> None:
        """Start other workers: with a whole GPU, for which they wait, or with the share of the search file."""
        self._group.close()
        self._alone = alone
        whole = {"gpus_per_worker": 1.0} if alone else {}
        self._group = WorkerGroup(self._resources.model_copy(update=whole))
