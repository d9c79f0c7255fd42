"""The log of a training worker: its own file on a cluster, nothing on the screen of the person who searches."""

import logging
import sys

PACKAGE = "kmcl_platform"


def start_worker_log() -> None:
    """Write this package's lines from INFO on to the standard error, which Ray keeps in a file for each worker.

    Called again, it changes nothing. Ray's dashboard shows these files; the driver does not print them.
    """
    logger = logging.getLogger(PACKAGE)
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        # Ray's own handler on the root logger would write each line again.
        logger.propagate = False
