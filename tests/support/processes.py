"""Processes of a search: ending them as a power failure does, and finding one among them."""

import subprocess
from contextlib import suppress

import psutil


def kill_family(process: "subprocess.Popen[bytes]") -> None:
    """Kill a process and all its descendants, as a machine does that loses its power; returns when all have ended."""
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for member in family:
        with suppress(psutil.NoSuchProcess):  # It has ended with its parent.
            member.kill()
    process.wait(60)
    psutil.wait_procs(family, timeout=60)


def find_descendant(process: "subprocess.Popen[bytes]", *names: str) -> psutil.Process:
    """The first descendant of a process whose command line begins with one of some names.

    Raises:
        AssertionError: there is none.
    """
    seen = []
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            seen.append(" ".join(child.cmdline()[:2]))
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
        if any(name in seen[-1] for name in names):
            return child
    raise AssertionError(f"no process {names}: {seen}")
