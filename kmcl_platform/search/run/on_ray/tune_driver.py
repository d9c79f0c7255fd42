"""The driver as Tune uses it: a Searcher and a Stopper in one object."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray.tune.search import Searcher
from ray.tune.stopper import Stopper

from kmcl_platform.config.search_parts import Resources
from kmcl_platform.search.cluster.resources import turn_seconds
from kmcl_platform.search.run.driver import SearchDriver


class TuneDriver(Searcher, Stopper):
    """Passes Tune's calls to the driver. Tune's name of a trial is the driver's key."""

    def __init__(
        self, driver: SearchDriver, resources: Resources, every_turn: Callable[[], None] = lambda: None
    ) -> None:
        """
        Args:
            driver: of the search.
            resources: of a trial.
            every_turn: called in every turn of Tune's loop, at least once a second.
        """
        # Tune gets no metric: the study compares the results, and a failure has no value.
        super().__init__(metric=None, mode=None)
        self._driver = driver
        self._resources = resources
        self._every_turn = every_turn

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]  # Tune's own says FINISHED
        """The next trial, as the configuration of a `WarmTrial`."""
        assignment = self._driver.next_trial(trial_id)
        if assignment is None:
            # For Tune, None means: no point for now. `stop_all` then ends the search.
            return None if self._driver.trouble else Searcher.FINISHED
        return {
            "assignment": assignment,
            "resources": self._resources.model_dump(),
            "turn_seconds": turn_seconds(),
        }

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """End a trial whose process was lost. A trial that Tune ends for a reason of its own (Ctrl-C) stays open."""
        if error:
            self._driver.lose(trial_id, "the process of the trial was lost repeatedly")

    def save(self, checkpoint_path: str) -> None:
        """Write an empty file: the study is durable by itself."""
        Path(checkpoint_path).write_text("")

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: a search is continued from its study."""

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Take one result; True: Tune ends the trial."""
        return self._driver.take(trial_id, result)  # type: ignore[arg-type]  # a `Message`, with Tune's own keys

    def stop_all(self) -> bool:
        """Whether the search must end. Tune calls this in every turn of its loop, at least once a second."""
        self._every_turn()
        return self._driver.must_end()

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its parts into snapshots that are never restored; database connections cannot go there.
        return {}
