"""The prober: tries corners on a group of workers that is started as a search starts it."""

import time
from pathlib import Path
from typing import Any

import ray

from kmcl_platform.config.reports.measurement import Measurement
from kmcl_platform.config.search_file import Resources, SearchFile
from kmcl_platform.config.store import Store
from kmcl_platform.errors import ResourceError, StoreError
from kmcl_platform.search.plan.probe_points import Corner, TriedCorner, to_config
from kmcl_platform.search.run.worker_group import WorkerGroup


class Prober:
    """A group of workers, and the corners that they are given.

    Attributes:
        start_seconds: from the start of the workers to the first corner's; none before it has ended.
    """

    def __init__(self, resources: Resources, store: Store, scratch: Path, num_steps: int) -> None:
        """
        Args:
            resources: of one trial.
            store: holds the data.
            scratch: a folder that all nodes see.
            num_steps: timed optimizer steps of each corner.
        """
        self._store = store
        self._scratch = scratch
        self._num_steps = num_steps
        self._started = time.monotonic()
        self.start_seconds: float | None = None
        # A lost worker is not waited for again: on a sound machine it was memory that it lacked.
        self._group = WorkerGroup(resources, max_starts=1)

    def try_corner(self, file: SearchFile, corner: Corner) -> TriedCorner:
        """Take a corner's first steps.

        Raises:
            StoreError: the store's disk is full.
        """
        self._group.begin(
            {
                "number": 0,
                "config": to_config(file, corner).model_dump(),
                "checkpoints": str(self._scratch / "checkpoint"),
                "data_dir": str(self._store.data),
                "working_dir": str(Path.cwd()),
                "probe_steps": self._num_steps,
            }
        )
        message: Any = self._group.next_message()
        waited = time.monotonic() - self._started
        if "trouble" in message:
            raise StoreError(message["trouble"])
        if "failure" in message:
            self.start_seconds = self.start_seconds or waited
            return TriedCorner(corner, None, message["failure"])
        measured = Measurement.model_validate(message["measurement"])
        self.start_seconds = self.start_seconds or max(0.0, waited - measured.total_seconds)
        failure = ""
        if measured.nonfinite_first_steps:
            failure = (
                f"the loss is not finite in {measured.nonfinite_first_steps} of its first {measured.first_steps} steps"
            )
        return TriedCorner(corner, measured, failure)

    def close(self) -> None:
        """End the workers."""
        self._group.close()


def check_free(resources: Resources) -> None:
    """See that a trial's workers can start now: on a cluster that is in use they would be waited for without end.

    Raises:
        ResourceError: they cannot.
    """
    free = ray.available_resources()
    wanted = resources.workers_per_trial
    for name, each in (("CPU", resources.cpus_per_worker), ("GPU", resources.gpus_per_worker)):
        if free.get(name, 0) < wanted * each:
            raise ResourceError(
                f"resources: a trial needs {wanted * each:g} {name}; {free.get(name, 0):g} are free on the cluster; "
                "valid: plan when nothing else runs there"
            )
