"""SIGTERM ends a search as Ctrl-C does."""

import signal
import subprocess
import sys
from contextlib import suppress

import pytest

from kmcl_platform.search.run.runner import ending_on_sigterm

PROGRAM = """
import time
from kmcl_platform.search.run.runner import ending_on_sigterm
try:
    with ending_on_sigterm():
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


def test_after_a_search_the_signals_do_what_they_did_before() -> None:
    def own(*_: object) -> None:
        """A program's own handler, which Tune would replace."""

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        for number in before:
            signal.signal(number, own)
        with ending_on_sigterm():
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            assert signal.getsignal(signal.SIGTERM) is not own
        assert [signal.getsignal(number) for number in before] == [own, own]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
