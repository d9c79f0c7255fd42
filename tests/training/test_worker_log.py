"""The log of a worker has the lines of this package. Nothing is written before the log is started."""

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

FAILURE = """
import logging
from kmcl_platform.training.workers.worker_log import start_worker_log
start_worker_log()
try:
    raise OSError("cannot read http://me:s3cr3t@host/x")
except OSError:
    logging.getLogger("kmcl_platform.search").exception("no answer from postgresql://me:s3cr3t@host/db")
"""


def test_lines_of_this_package_are_written_once_and_only_after_the_start() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.endswith("INFO kmcl_platform.training.fit: went on")


def test_passwords_are_masked_in_lines_and_tracebacks() -> None:
    done = subprocess.run([sys.executable, "-c", FAILURE], capture_output=True, text=True, check=True)
    lines = done.stderr.splitlines()
    assert lines[0].endswith("ERROR kmcl_platform.search: no answer from postgresql://me:***@host/db")
    assert lines[-1] == "OSError: cannot read http://me:***@host/x"
    assert "s3cr3t" not in lines[0] + lines[-1]
