"""A cloud's notice that it will take this machine away, asked for at the cloud's metadata service.

The variable KMCL_SPOT_NOTICE of a node's environment names the cloud. Without it nothing is asked.
"""

import json
import logging
import os
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping

from kmcl_platform.training.workers import notice

VARIABLE = "KMCL_SPOT_NOTICE"

METADATA = "http://169.254.169.254"
"""The address of this service in every cloud. It is answered by the machine's own host, and leaves no network."""

SECONDS_BETWEEN = 5.0
"""A notice comes 30 seconds (Google) to two minutes (Amazon) before the end."""

SECONDS_OF_A_NOTICE = 150.0
"""A machine that still lives so long after a notice is not taken away: its workers go on."""

_TIMEOUT = 2.0

_logger = logging.getLogger(__name__)

_seen, _outlived = threading.Event(), threading.Event()
_lock = threading.Lock()
"""Held while the two change: a thread asks, and the main one gives up waiting."""


def watch() -> None:
    """Begin to ask, in a thread of its own, if the environment names a cloud. Call it once in a process."""
    cloud = os.environ.get(VARIABLE, "")
    if not cloud:
        return
    if cloud not in _CLOUDS:
        _logger.warning("%s: got %r; valid: %s; no notice is asked for", VARIABLE, cloud, ", ".join(_CLOUDS))
        return
    threading.Thread(target=_ask_until_given, args=(_CLOUDS[cloud],), name="spot notice", daemon=True).start()


def wait_if_given() -> None:
    """Wait, because this machine goes: a trial that begins here now would only be interrupted again."""
    end = time.monotonic() + SECONDS_OF_A_NOTICE
    while _seen.is_set():
        if time.monotonic() >= end:
            _logger.warning("this machine was not taken away: its workers go on")
            with _lock:
                _outlived.set()
                _seen.clear()
                notice.forget()
        else:
            time.sleep(0.1)


def _ask_until_given(ask: Callable[[], bool]) -> None:
    while not _outlived.is_set():
        try:
            given = ask()
        except OSError as error:
            # Without a notice, Amazon's service answers that there is no such page, which is an error here too.
            _logger.debug("%s: no answer: %s", VARIABLE, error)
            given = False
        with _lock:
            if given and not _outlived.is_set():
                if not _seen.is_set():
                    _logger.warning("the cloud takes this machine away: the trial writes a checkpoint and leaves")
                _seen.set()
                # Nothing may train at this moment. Then it is asked for again.
                if notice.take():
                    return
        time.sleep(SECONDS_BETWEEN)


def _amazon() -> bool:
    token = _read("/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "60"}, "PUT")
    answer = json.loads(_read("/latest/meta-data/spot/instance-action", {"X-aws-ec2-metadata-token": token}))
    return answer.get("action") in ("stop", "terminate", "hibernate")


def _google() -> bool:
    return _read("/computeMetadata/v1/instance/preempted", {"Metadata-Flavor": "Google"}).strip() == "TRUE"


_CLOUDS: Mapping[str, Callable[[], bool]] = {"aws": _amazon, "gcp": _google}


def _read(path: str, headers: dict[str, str], method: str = "GET") -> str:
    request = urllib.request.Request(METADATA + path, headers=headers, method=method)
    # Not through a proxy: the address means this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=_TIMEOUT) as answer:
        return str(answer.read().decode())
