"""How many trials fit on a cluster at the same time, so that no trial waits for workers that cannot start."""

import re
from collections.abc import Iterable, Mapping

from kmcl_platform.config.reports.measurement import Measurement
from kmcl_platform.config.search_parts import Resources
from kmcl_platform.errors import ResourceError
from kmcl_platform.messages import count_of, show_value

TRIAL_ACTOR = {"CPU": 0.0, "memory": 1.0}
"""What Tune reserves for the actor of a trial. The actor only waits, so that all CPUs are for the workers. Ray refuses
an empty reservation; therefore it is one byte of memory."""

CLUSTER_NODES = "KMCL_CLUSTER_NODES"
"""The largest set of nodes for trials on a cluster that grows; the cluster's start commands set this variable. Its form
is COUNTxCPUS/GPUS, with commas between several kinds (`8x8/1,2x64/4`). Drivers cannot read it from Ray."""

_NODES = re.compile(r"(\d+)x(\d+)/(\d+)")


def parse_nodes(text: str) -> list[dict[str, float]]:
    """The `CPU` and `GPU` of each node that `KMCL_CLUSTER_NODES` lists.

    Raises:
        ResourceError: the text has another form.
    """
    nodes: list[dict[str, float]] = []
    for part in text.split(","):
        match = _NODES.fullmatch(part.strip())
        if match is None:
            raise ResourceError(
                f"{CLUSTER_NODES}: got {show_value(text)}; valid: COUNTxCPUS/GPUS, for example 8x8/1 or 8x8/1,2x64/4"
            )
        count, cpus, gpus = map(int, match.groups())
        nodes += [{"CPU": cpus, "GPU": gpus}] * count
    return nodes


def count_concurrent_trials(nodes: Iterable[Mapping[str, float]], resources: Resources) -> int:
    """The number of trials whose workers fit on the nodes at the same time.

    Args:
        nodes: `CPU` and `GPU` of each node.
        resources: the resources of a trial, from the search file.

    Raises:
        ResourceError: not even one trial fits; the message shows the numbers.
    """
    nodes = list(nodes)
    cpus, gpus, wanted = resources.cpus_per_worker, resources.gpus_per_worker, resources.workers_per_trial
    # Node by node: a worker runs on one node, so the rests of two nodes do not make another worker.
    slots = sum(_worker_slots(node, cpus, gpus) for node in nodes)
    if slots < wanted:
        shapes = " + ".join(f"{node.get('CPU', 0):g} CPU/{node.get('GPU', 0):g} GPU" for node in nodes) or "no node"
        raise ResourceError(
            f"resources: a trial needs {wanted} workers of {cpus:g} CPU and {gpus:g} GPU = {wanted * cpus:g} CPU and "
            f"{wanted * gpus:g} GPU in whole workers per node; the cluster ({shapes}) holds {slots} such workers; "
            "valid: fewer workers_per_trial, smaller workers, or a larger cluster"
        )
    fitting = slots // wanted
    return min(fitting, resources.max_concurrent_trials or fitting)


def count_trials_in_memory(nodes: Iterable[Mapping[str, float]], resources: Resources, measured: Measurement) -> int:
    """The number of trials that fit at the same time if every worker needs the measured memory; at least 1.

    Args:
        nodes: `CPU`, `GPU` and `memory` (bytes) of each node.
        resources: the resources of a trial, from the search file.
        measured: the costs of a trial. For a trial on a GPU, the memory of the GPU counts, else that of the node.
    """
    capped = [dict(node) for node in nodes]
    if measured.device == "cuda":
        # If a worker fills more of a GPU's memory than its share, it counts with what it fills.
        share = measured.peak_bytes / max(measured.device_bytes, 1)
        resources = resources.model_copy(update={"gpus_per_worker": max(resources.gpus_per_worker, share)})
    else:
        for node in capped:
            if "memory" in node:
                workers = node["memory"] // max(measured.peak_bytes, 1)
                # Only as many CPUs as workers fit into the memory, so that the count below is bounded by both.
                node["CPU"] = min(node.get("CPU", 0), workers * resources.cpus_per_worker)
    try:
        return count_concurrent_trials(capped, resources)
    except ResourceError:
        # The measured trial did run, so that one fits.
        return 1


def note_unused_gpus(nodes: Iterable[Mapping[str, float]], resources: Resources) -> str:
    """A line for a user whose trials use no GPU although there are some; empty: they use them, or there are none."""
    gpus = int(sum(node.get("GPU", 0) for node in nodes))
    if not gpus or resources.gpus_per_worker:
        return ""
    return f"{count_of(gpus, 'GPU')} will not be used: resources.gpus_per_worker is 0; 1 trains each worker on a GPU"


def _worker_slots(node: Mapping[str, float], cpus: float, gpus: float) -> int:
    # Ray counts in ten-thousandths. The tolerance keeps a slot that rounding (0.1 + 0.2 > 0.3) would lose.
    slots = node.get("CPU", 0) / cpus
    if 0 < gpus < 1:
        # A worker's share is of one GPU: the remainders of two GPUs cannot be combined.
        slots = min(slots, int(node.get("GPU", 0)) * int(1 / gpus + 1e-6))
    elif gpus:
        slots = min(slots, node.get("GPU", 0) / gpus)
    return int(slots + 1e-6)
