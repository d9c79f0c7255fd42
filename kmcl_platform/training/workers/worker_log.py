"""The log of a training worker: a file on the cluster. Nothing of it appears in the terminal of the search."""

import logging
import sys

PACKAGE = "kmcl_platform"


def start_worker_log() -> None:
    """Write this package's log lines, of level INFO and above, to standard error. Ray keeps it in a file per worker.

    A second call changes nothing. Ray's dashboard shows these files; the driver does not print them.
    """
    logger = logging.getLogger(PACKAGE)
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        # Ray's own handler on the root logger would write each line again.
        logger.propagate = False
