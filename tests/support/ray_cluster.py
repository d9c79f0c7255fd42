"""Ray heads and nodes on loopback, for tests that send a search to a cluster."""

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes import kill_family
from tests.support.waiting import free_port, listens, wait_until

WORKER_START = "Attempting to start training worker group"


@dataclass(frozen=True)
class RayHead:
    """A head that runs.

    Attributes:
        address: of its dashboard, where jobs are sent.
        gcs: where nodes and drivers join, `HOST:PORT`.
        environment: all variables that its nodes and clients need, the token included.
        process: `ray start`.
        folder: of its logs and sockets.
    """

    address: str
    gcs: str
    environment: dict[str, str]
    process: "subprocess.Popen[bytes]"
    folder: Path

    def count_worker_starts(self) -> int:
        """How often Ray Train has tried to start a group of workers, by the logs of its controllers on this node."""
        logs = self.folder.glob("session_2*/logs/train/*controller*.log*")
        return sum(path.read_text(errors="replace").count(WORKER_START) for path in logs)

    def drain_worker_nodes(self) -> None:
        """Tell Ray that all nodes but the head will be taken away; nothing is taken away by this."""
        code = (
            f"import ray; ray.init('{self.gcs}', logging_level='error')\n"
            "print(*(node['NodeID'] for node in ray.nodes() if node['Alive'] and node['Resources'].get('CPU')))"
        )
        found = subprocess.run(
            [sys.executable, "-c", code], env=self.environment, check=True, capture_output=True, text=True
        )
        # Without a deadline, Ray refuses to drain a node that works.
        words = ["--reason=DRAIN_NODE_REASON_PREEMPTION", "--reason-message=test", "--deadline-remaining-seconds=600"]
        for node in found.stdout.splitlines()[-1].split():
            subprocess.run(
                [
                    Path(sys.executable).parent / "ray",
                    "drain-node",
                    f"--address={self.gcs}",
                    f"--node-id={node}",
                    *words,
                ],
                env=self.environment,
                check=True,
            )


def cluster_environment(token_file: Path | None = None, **more: str) -> dict[str, str]:
    """The variables of this process without Ray's own, with a new token.

    Args:
        token_file: file to which the token is written and which Ray is given. None: Ray is given the token itself.
        more: variables to add.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    token = secrets.token_hex(32)
    if token_file:
        token_file.write_text(token)
    return environment | {
        "RAY_AUTH_MODE": "token",
        **({"RAY_AUTH_TOKEN_PATH": str(token_file)} if token_file else {"RAY_AUTH_TOKEN": token}),
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        # Ray runs its workers at niceness 15: while other tests run, they would get almost no time.
        "RAY_worker_niceness": "0",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        **more,
    }


@contextmanager
def ray_head(log: Path, environment: dict[str, str], *, cpus: int, nodes: str = "") -> Iterator[RayHead]:
    """A head that ends with the block.

    Args:
        log: file for the output of its processes.
        environment: its variables, from `cluster_environment`.
        cpus: CPUs of the head that trials may use.
        nodes: KMCL_CLUSTER_NODES of the head alone. Empty: not set.
    """
    # Ray's own choice of the client server's port and of worker ports is fixed: two heads would want the same.
    gcs, dashboard, client = free_port(), free_port(), free_port()
    words = [
        "--head", f"--num-cpus={cpus}", "--num-gpus=0", f"--port={gcs}", "--dashboard-host=127.0.0.1",
        f"--dashboard-port={dashboard}", f"--ray-client-server-port={client}",
    ]  # fmt: skip
    own = environment | ({"KMCL_CLUSTER_NODES": nodes} if nodes else {})
    with _ray_process(log, own, words) as (process, folder):
        wait_until(lambda: listens(dashboard), seconds=180, process=process, log=log)
        yield RayHead(f"http://127.0.0.1:{dashboard}", f"127.0.0.1:{gcs}", environment, process, folder)


@contextmanager
def ray_node(log: Path, head: RayHead, *, cpus: int) -> Iterator["subprocess.Popen[bytes]"]:
    """A node that joins a head and leaves with the block."""
    with _ray_process(log, head.environment, [f"--address={head.gcs}", f"--num-cpus={cpus}"]) as (process, _):
        yield process


@contextmanager
def _ray_process(
    log: Path, environment: dict[str, str], words: list[str]
) -> Iterator[tuple["subprocess.Popen[bytes]", Path]]:
    """`ray start --block` and its folder. All its processes are killed with the block."""
    ray = str(Path(sys.executable).parent / "ray")
    # Paths of sockets have at most about 100 characters, which pytest's folders exceed. Each node has a folder of its
    # own: nodes of one machine would share a folder and clear it away when they end.
    folder = tempfile.mkdtemp(prefix="kmcl")
    common = ["--block", "--node-ip-address=127.0.0.1", "--dashboard-agent-listen-port=0", f"--temp-dir={folder}"]
    common += ["--min-worker-port=0", "--max-worker-port=0"]
    with log.open("w") as output:
        process = subprocess.Popen(
            [ray, "start", *common, *words], env=environment, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield process, Path(folder)
    finally:
        if process.poll() is None:
            kill_family(process)  # Ray's own end of a head takes half a minute.
        shutil.rmtree(folder, ignore_errors=True)
