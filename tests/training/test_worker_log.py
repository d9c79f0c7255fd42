"""The log of a worker has the lines of this package; nothing is written before it is started."""

import subprocess
import sys

SCRIPT = """
import logging
from kmcl_platform.training.workers.worker_log import start_worker_log
logger = logging.getLogger("kmcl_platform.training.fit")
logger.info("before")
start_worker_log()
start_worker_log()
logger.info("went on")
logging.getLogger("other").info("of another library")
"""


def test_lines_of_this_package_are_written_once_and_only_after_the_start() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.endswith("INFO kmcl_platform.training.fit: went on")
