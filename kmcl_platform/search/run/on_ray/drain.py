"""A node that its Ray cluster drains: a cluster says so before it takes a node away (`ray drain-node`, autoscalers)."""

import logging
import threading
import time

import ray

from kmcl_platform.training.breaks import ToldToEnd
from kmcl_platform.training.workers import notice

SECONDS_BETWEEN = 5.0

_logger = logging.getLogger(__name__)

_drained = threading.Event()


def watch() -> None:
    """Begin to ask Ray whether it drains this process's node, in a thread of its own. Call it once in a worker."""
    node = ray.get_runtime_context().get_node_id()
    threading.Thread(target=_ask_until_told, args=(node,), name="drain of the node", daemon=True).start()


def leave_if_drained() -> None:
    """Return if the node stays.

    Raises:
        ToldToEnd: a trial that begins here now would only be interrupted. Ray starts the next workers on other nodes.
    """
    if _drained.is_set():
        raise ToldToEnd("Ray drains the node of a worker")


def _ask_until_told(node: str) -> None:
    while not is_drained(node):
        time.sleep(SECONDS_BETWEEN)
    _logger.warning("Ray drains this node: the trial writes a checkpoint and leaves")
    _drained.set()
    # A training notices it after its next step. Nothing may train now, or a trial on features, which is short: then the
    # workers leave before their next trial.
    while not notice.take():
        time.sleep(0.1)


def is_drained(node: str) -> bool:
    """Whether Ray drains a node.

    Args:
        node: its id, in hexadecimal digits.
    """
    try:
        # Ray has no public function for this. Its own libraries, such as Ray Data, call this one.
        return node in ray._private.state.state.get_draining_nodes()
    except ray.exceptions.RayError as error:
        # The head may be away for a moment.
        _logger.debug("the drained nodes are not known: %s", error)
        return False
