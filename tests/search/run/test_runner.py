"""SIGTERM ends a search as Ctrl-C does."""

import signal
import subprocess
import sys
from contextlib import suppress

import pytest

PROGRAM = """
import time
from kmcl_platform.search.run.runner import end_on_sigterm
end_on_sigterm()
try:
    print("ready", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    print("ended in order", flush=True)
"""


@pytest.mark.parametrize("ignored", [False, True], ids=["in a terminal", "with & in a script"])
def test_sigterm_ends_a_search_in_order(ignored: bool) -> None:
    ignore = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n" if ignored else ""
    process = subprocess.Popen([sys.executable, "-c", ignore + PROGRAM], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=30)[0] == "ended in order\n"
    finally:
        with suppress(ProcessLookupError):
            process.kill()
