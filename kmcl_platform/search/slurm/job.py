"""The job of SLURM in which this process runs: Ray on all of its nodes, a search on it, and its signals."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import IO

from kmcl_platform.errors import ClusterError
from kmcl_platform.messages import bound_line
from kmcl_platform.search.cluster import loopback

_END_SECONDS = 40
"""How long Ray may take to end. SLURM itself waits for 30 seconds before it kills."""

START_SECONDS = 300.0
"""How long Ray may take to start on all nodes."""

INTERRUPTED = 130
"""The exit code of a search that was stopped."""


class Job:
    """The job in which this process runs.

    Attributes:
        number: SLURM's number of the job.
        nodes: the names of its nodes; this process runs on the first one.
    """

    def __init__(self) -> None:
        """
        Raises:
            ClusterError: this process runs in no job, or SLURM does not answer.
        """
        self._slurm = _environment_of_job()
        self.number = self._slurm["SLURM_JOB_ID"]
        self.nodes = _ask("scontrol", "show", "hostnames", self._slurm["SLURM_JOB_NODELIST"]).split()
        self._steps: list[subprocess.Popen[bytes]] = []
        self._said: IO[bytes]
        # A folder for this job: another user's search on this machine has the default one.
        self._folder = f"/tmp/kmcl-{self.number}"
        self._search: subprocess.Popen[bytes] | None = None
        self.stopped_by: signal.Signals | None = None
        self._head = self._own_address()

    @property
    def is_continued(self) -> bool:
        """Whether the job was queued again."""
        return self._slurm.get("SLURM_RESTART_COUNT", "0") != "0"

    def run(self, words: Sequence[str]) -> int:
        """Start Ray, run the search, and end Ray; returns the exit code of the search.

        Args:
            words: of the command `kmcl`.

        Raises:
            ClusterError: Ray does not start on all nodes.
        """
        # What SLURM and Ray say is of interest only if Ray does not start.
        with tempfile.TemporaryFile() as self._said:
            return self._run(words, self._environment())

    def _run(self, words: Sequence[str], environment: dict[str, str]) -> int:
        try:
            address = self._start_ray(environment)
            if self.stopped_by is not None:
                return INTERRUPTED
            command = [sys.executable, "-m", "kmcl_platform.cli", *words, "--address", address]
            self._search = subprocess.Popen(command, env=environment)
            # A signal may have come between the last two lines.
            if self.stopped_by is not None:
                self._search.send_signal(signal.SIGTERM)
            return self._search.wait()
        finally:
            for step in self._steps:
                step.terminate()
            for step in self._steps:
                with suppress(subprocess.TimeoutExpired):
                    step.wait(_END_SECONDS)
            self._clean()

    def stop(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal: stop the search."""
        self.stopped_by = signal.Signals(number)
        if self._search is not None and self._search.poll() is None:
            self._search.send_signal(signal.SIGTERM)

    def queue_again(self) -> None:
        """Queue the job again. SLURM ends this process.

        Raises:
            ClusterError: SLURM refuses.
        """
        _ask("scontrol", "requeue", self.number)

    def _environment(self) -> dict[str, str]:
        own = {
            # Everybody who can reach a port of Ray could run code otherwise. Steps of a job get the environment.
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            # Ray runs its workers at niceness 15 by default.
            "RAY_worker_niceness": "0",
        }
        if len(self.nodes) == 1:
            own |= loopback.ENVIRONMENT
        return dict(os.environ) | own

    def _start_ray(self, environment: dict[str, str]) -> str:
        with socket.socket() as probe:
            probe.bind((self._head, 0))
            address = f"{self._head}:{probe.getsockname()[1]}"
        cpus = self._slurm.get("SLURM_CPUS_PER_TASK") or self._slurm.get("SLURM_CPUS_ON_NODE", "1")
        step = ["srun", "--ntasks-per-node=1", f"--cpus-per-task={cpus}", "--overlap"]
        head = ["--head", f"--node-ip-address={self._head}", f"--port={address.rpartition(':')[2]}"]
        head += [f"--temp-dir={self._folder}", f"--dashboard-host={loopback.LOOPBACK}"]
        places = [(self.nodes[:1], head)]
        if len(self.nodes) > 1:
            places.append((self.nodes[1:], [f"--address={address}"]))
        for nodes, options in places:
            count = str(len(nodes))
            where = [f"--nodes={count}", f"--ntasks={count}", f"--nodelist={','.join(nodes)}"]
            ray = [str(Path(sys.executable).with_name("ray")), "start", "--block", f"--num-cpus={cpus}", *options]
            command = [*step, *where, *ray]
            self._steps.append(subprocess.Popen(command, env=environment, stdout=self._said, stderr=self._said))
            self._wait_for(address, 1 if nodes is places[0][0] else len(self.nodes), environment)
        return address

    def _wait_for(self, address: str, count: int, environment: dict[str, str]) -> None:
        """Wait until Ray runs on so many nodes."""
        deadline = time.monotonic() + START_SECONDS
        while self.stopped_by is None:
            ended = next((step for step in self._steps if step.poll() is not None), None)
            if ended is not None:
                self._said.seek(0)
                said = bound_line(" ".join(self._said.read().decode(errors="replace").split())[-500:])
                raise ClusterError(f"slurm: Ray ended on a node with code {ended.returncode}: {said}")
            found, said = self._count_nodes(address, environment)
            if found >= count:
                return
            if time.monotonic() > deadline:
                raise ClusterError(
                    f"slurm: Ray is not on all {len(self.nodes)} nodes after {START_SECONDS:.0f} s ({said}); valid: "
                    "nodes that can reach each other, with this environment under the same path"
                )
            time.sleep(1)

    def _count_nodes(self, address: str, environment: dict[str, str]) -> tuple[int, str]:
        """The number of nodes on which Ray runs; 0 for a reason that is the second value."""
        host, _, port = address.rpartition(":")
        try:
            # Ray's own client would wait long for a head that is not there.
            socket.create_connection((host, int(port)), timeout=5).close()
            command = [sys.executable, "-c", _COUNT_NODES, address]
            answer = subprocess.run(
                command, env=environment, capture_output=True, text=True, check=False, timeout=_END_SECONDS
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return 0, str(error)
        if answer.returncode:
            return 0, bound_line(" ".join(answer.stderr.split())[-300:])
        return int(answer.stdout.split()[-1]), ""

    def _clean(self) -> None:
        """Remove Ray's folder on all nodes; a node that does not answer keeps it."""
        with suppress(subprocess.TimeoutExpired):
            remove = ["srun", "--overlap", "--ntasks-per-node=1", "rm", "-rf", self._folder]
            subprocess.run(remove, stdout=self._said, stderr=self._said, timeout=_END_SECONDS, check=False)

    def _own_address(self) -> str:
        """The address of this node at which the other ones reach it."""
        if len(self.nodes) == 1:
            return loopback.LOOPBACK
        described = _ask("scontrol", "--oneliner", "show", "node", self.nodes[1]).split()
        other = next((word.partition("=")[2] for word in described if word.startswith("NodeAddr=")), self.nodes[1])
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            # Nothing is sent: this chooses the interface.
            probe.connect((other, 9))
            return str(probe.getsockname()[0])


_COUNT_NODES = """
import logging, sys
import ray
ray.init(sys.argv[1], log_to_driver=False, logging_level=logging.ERROR)
print(sum(node["Alive"] for node in ray.nodes()))
"""


def _ask(*words: str) -> str:
    answer = subprocess.run(words, capture_output=True, text=True, check=False)
    if answer.returncode:
        said = bound_line(" ".join(answer.stderr.split()))
        raise ClusterError(f"slurm: {' '.join(words)}: {said or f'exit code {answer.returncode}'}")
    return answer.stdout


def _environment_of_job() -> dict[str, str]:
    """SLURM's description of the job in which this process runs.

    Raises:
        ClusterError: it runs in none.
    """
    if "SLURM_JOB_ID" not in os.environ:
        raise ClusterError("SLURM_JOB_ID: got nothing; valid: a process of a SLURM job (kmcl submit FILE --slurm)")
    return {name: value for name, value in os.environ.items() if name.startswith("SLURM_")}
