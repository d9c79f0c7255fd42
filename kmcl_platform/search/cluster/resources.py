"""How many trials fit on a cluster at the same time, so that no trial waits for workers that cannot start."""

import os
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
is COUNTxCPUS/GPUS or COUNTxCPUS/GPUS:TYPE, with commas between several kinds (`8x8/1,2x64/4:A100`). Drivers cannot read
it from Ray."""

TYPE_PREFIX = "accelerator_type:"
"""Ray gives each node whose GPUs it knows a resource of this name and their type."""

TURN = "KMCL_TURN_SECONDS"
"""How long workers keep their CPUs and GPUs at least while another search of the cluster waits for some. They always
keep them until the end of their trial. Starting other workers takes up to half a minute."""

_TURN_SECONDS = 120.0
_NODES = re.compile(r"(\d+)x(\d+)/(\d+)(?::([\w-]+))?")


def parse_nodes(text: str) -> list[dict[str, float]]:
    """The `CPU`, the `GPU` and the type of GPU of each node that `KMCL_CLUSTER_NODES` lists, as Ray names resources.

    Raises:
        ResourceError: the text has another form.
    """
    nodes: list[dict[str, float]] = []
    for part in text.split(","):
        match = _NODES.fullmatch(part.strip())
        if match is None:
            raise ResourceError(
                f"{CLUSTER_NODES}: got {show_value(text)}; valid: COUNTxCPUS/GPUS or COUNTxCPUS/GPUS:TYPE, for example "
                "8x8/1 or 8x8/1:T4,2x64/4:A100"
            )
        count, cpus, gpus = map(int, match.groups()[:3])
        named = {f"{TYPE_PREFIX}{match[4]}": 1.0} if match[4] else {}
        nodes += [{"CPU": cpus, "GPU": gpus, **named}] * count
    return nodes


def turn_seconds() -> float:
    """The seconds that `KMCL_TURN_SECONDS` says, or the default.

    Raises:
        ResourceError: it is not a number of seconds.
    """
    text = os.environ.get(TURN)
    if not text:
        return _TURN_SECONDS
    if re.fullmatch(r"\d{1,9}(\.\d+)?", text) is None:
        raise ResourceError(f"{TURN}: got {show_value(text)}; valid: a number of seconds, 0 or more")
    return float(text)


def list_types(nodes: Iterable[Mapping[str, float]]) -> list[str]:
    """The types of GPUs of the nodes, by Ray's names, in alphabetical order; GPUs that Ray does not know have none."""
    names = {name for node in nodes for name in node if name.startswith(TYPE_PREFIX)}
    return sorted(name.removeprefix(TYPE_PREFIX) for name in names)


def usable_nodes(nodes: Iterable[Mapping[str, float]], resources: Resources) -> list[Mapping[str, float]]:
    """The nodes that a trial's workers may use: those with the type of GPU that the search asks for, or all.

    Raises:
        ResourceError: no node has GPUs of this type.
    """
    nodes = list(nodes)
    if (wanted := resources.accelerator_type) is None:
        return nodes
    if usable := [node for node in nodes if TYPE_PREFIX + wanted in node]:
        return usable
    types = list_types(nodes)
    raise ResourceError(
        f"resources.accelerator_type: got {show_value(wanted)}, which no node of the cluster has; valid: "
        + (", ".join(types) if types else "no value, because the cluster has no GPU whose type Ray knows")
    )


def count_concurrent_trials(nodes: Iterable[Mapping[str, float]], resources: Resources) -> int:
    """The number of trials whose workers fit on the nodes at the same time.

    Args:
        nodes: `CPU`, `GPU` and type of GPU of each node.
        resources: the resources of a trial, from the search file.

    Raises:
        ResourceError: not even one trial fits, or no node has the type of GPU; the message shows what the nodes have.
    """
    nodes = usable_nodes(nodes, resources)
    cpus, gpus, wanted = resources.cpus_per_worker, resources.gpus_per_worker, resources.workers_per_trial
    # Node by node: a worker runs on one node, so the rests of two nodes do not make another worker.
    slots = sum(_worker_slots(node, cpus, gpus) for node in nodes)
    if slots < wanted:
        of_type = f" {resources.accelerator_type}" if resources.accelerator_type else ""
        shapes = " + ".join(f"{node.get('CPU', 0):g} CPU/{node.get('GPU', 0):g} GPU{of_type}" for node in nodes)
        shapes = shapes or "no node"
        raise ResourceError(
            f"resources: a trial needs {wanted} workers of {cpus:g} CPU and {gpus:g} GPU = {wanted * cpus:g} CPU and "
            f"{wanted * gpus:g} GPU in whole workers per node; the cluster ({shapes}) holds {slots} such workers; "
            "valid: fewer workers_per_trial, smaller workers, or a larger cluster"
        )
    fitting = slots // wanted
    if resources.share is not None:
        fitting = max(1, min(fitting, _shared_trials(nodes, resources, resources.share)))
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


def _shared_trials(nodes: Iterable[Mapping[str, float]], resources: Resources, share: float) -> int:
    """The number of trials that together have at most this share of the CPUs, and of the GPUs, of the nodes."""
    needed = {"CPU": resources.cpus_per_worker, "GPU": resources.gpus_per_worker}
    return min(
        # The tolerance keeps a trial that rounding (0.7 * 10 < 7) would lose.
        int(share * sum(node.get(kind, 0) for node in nodes) / (resources.workers_per_trial * each) + 1e-6)
        for kind, each in needed.items()
        if each
    )


def _worker_slots(node: Mapping[str, float], cpus: float, gpus: float) -> int:
    # Ray counts in ten-thousandths. The tolerance keeps a slot that rounding (0.1 + 0.2 > 0.3) would lose.
    slots = node.get("CPU", 0) / cpus
    if 0 < gpus < 1:
        # A worker's share is of one GPU: the remainders of two GPUs cannot be combined.
        slots = min(slots, int(node.get("GPU", 0)) * int(1 / gpus + 1e-6))
    elif gpus:
        slots = min(slots, node.get("GPU", 0) / gpus)
    return int(slots + 1e-6)
