"""The prober: runs the first steps of corners on a group of workers, which starts as in a search."""

import time
from pathlib import Path
from typing import Any

from ray._private.state import available_resources_per_node

from kmcl_platform.config.reports.measurement import Measurement
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.search_parts import Resources
from kmcl_platform.config.space.aims import find_broken, list_constraints, wanted_costs
from kmcl_platform.config.store import Store
from kmcl_platform.errors import ResourceError, StoreError
from kmcl_platform.plugins.source import to_documents
from kmcl_platform.search.cluster.resources import usable_nodes
from kmcl_platform.search.plan.probe_points import Corner, TriedCorner, to_config
from kmcl_platform.search.run.on_ray.worker_group import WorkerGroup


class Prober:
    """Measures corners, one after another, on one group of workers.

    Attributes:
        start_seconds: from the start of the workers to the start of the first corner; None: no corner has ended.
    """

    def __init__(self, resources: Resources, store: Store, scratch: Path, num_steps: int) -> None:
        """
        Args:
            resources: the resources of one trial.
            store: the store with the data.
            scratch: a folder that all nodes see.
            num_steps: the number of timed optimizer steps of each corner.
        """
        self._store = store
        self._scratch = scratch
        self._num_steps = num_steps
        self._started = time.monotonic()
        self.start_seconds: float | None = None
        # The group is not started again: on a healthy machine a worker dies because it has too little memory.
        self._group = WorkerGroup(resources, max_starts=1)

    def try_corner(self, file: SearchFile, corner: Corner) -> TriedCorner:
        """Run the first steps of a corner.

        Raises:
            StoreError: the store's disk is full.
        """
        self._group.begin(
            {
                # All corners use one number and one folder: they run one after another, and `probe` removes its
                # checkpoint.
                "number": 0,
                "config": to_config(file, corner).model_dump(),
                "checkpoints": str(self._scratch / "checkpoint"),
                "data_dir": str(self._store.data),
                "features_dir": str(self._store.features),
                "working_dir": str(Path.cwd()),
                "plugins": to_documents(file.base.plugins),
                "probe_steps": self._num_steps,
                "costs": wanted_costs(file),
                "limits": {one.metric: one.bound for one in list_constraints(file)},
                "serving_device": file.serving_device,
            }
        )
        message: Any = self._group.next_message()
        waited = time.monotonic() - self._started
        if "trouble" in message:
            raise StoreError(message["trouble"])
        if "failure" in message or "refused" in message:
            # The measurement never began, so nothing can be subtracted: this is the best bound on the start.
            self.start_seconds = self.start_seconds or waited
            costs = message.get("refused", {})
            return TriedCorner(corner, None, message.get("failure", ""), find_broken(file, costs) or "", costs)
        measured = Measurement.model_validate(message["measurement"])
        self.start_seconds = self.start_seconds or max(0.0, waited - measured.total_seconds)
        failure = ""
        # Measured and failed at the same time: the costs are valid, but trials like this would diverge.
        if measured.nonfinite_first_steps:
            failure = (
                f"the loss is not finite in {measured.nonfinite_first_steps} of its first {measured.first_steps} steps"
            )
        return TriedCorner(corner, measured, failure)

    def close(self) -> None:
        """End the workers."""
        self._group.close()


def check_free(resources: Resources) -> None:
    """Check that the workers of a trial can start now: on a cluster that is in use, a plan would wait without end.

    Raises:
        ResourceError: they cannot start.
    """
    # Of each node: what is free on nodes with other GPUs does not count. `ray.available_resources` has only the sums.
    free = usable_nodes(available_resources_per_node().values(), resources)
    wanted, where = resources.workers_per_trial, resources.accelerator_type
    for name, each in (("CPU", resources.cpus_per_worker), ("GPU", resources.gpus_per_worker)):
        found = sum(node.get(name, 0) for node in free)
        if found < wanted * each:
            raise ResourceError(
                f"resources: a trial needs {wanted * each:g} {name}; {found:g} are free on the cluster"
                f"{f' on nodes with {where}' if where else ''}; "
                "valid: kmcl plan when nothing else runs on the cluster"
            )
