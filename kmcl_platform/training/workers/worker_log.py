"""The log of a training worker: a file on the cluster. Nothing of it appears in the terminal of the search."""

import logging
import sys

from kmcl_platform.messages import mask_passwords

PACKAGE = "kmcl_platform"


def start_worker_log() -> None:
    """Write this package's log lines, of level INFO and above, to standard error. Ray keeps it in a file per worker.

    A second call changes nothing. Ray's dashboard shows these files; the driver does not print them.
    """
    logger = logging.getLogger(PACKAGE)
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(_MaskingFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        # Ray's own handler on the root logger would write each line again.
        logger.propagate = False


class _MaskingFormatter(logging.Formatter):
    """Masks the passwords of addresses in a line and in its traceback: other users of the cluster can read the log."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        return mask_passwords(super().format(record))
